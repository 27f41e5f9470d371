"""Composes shipped experiments as the command line does."""

from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from clusterlab.config import RunConfig, parse

CONF = Path(__file__).parents[2] / "conf"


@cache
def compose_experiment(name: str, root: Path) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", overrides=[f"experiment={name}", f"data.root={root}"])
    values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    # A folder of images does not know how many classes it has.
    return parse(values | {"num_clusters": values["num_clusters"] or 2})


def part(config: RunConfig, section: str):
    return next(plan.settings for plan in config.stages if plan.section == section)
