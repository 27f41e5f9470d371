"""Runs in the process of the tests: starting one takes longer than a small run."""

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from clusterlab import registry
from clusterlab.errors import UserError
from clusterlab.run import run
from command_line import SMALL

CONF = Path(__file__).parents[2] / "conf"
TINY = ("data.limit=60", "backbone.width=4", "trainer.checkpoint_seconds=0", "logger=none", "run_dir=run")


@cache
def _composed(words: tuple[str, ...]) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("config", overrides=list(words)), resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def composed(method: str, *words: str) -> dict[str, Any]:
    """The plain values of a tiny run."""
    return _composed((*SMALL[method], *TINY, *words))


def changed(values: Mapping[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """The same values with another one at `path`."""
    first, *rest = path
    return {**values, first: changed(values[first], tuple(rest), value) if rest else value}


def line_of(values: Mapping[str, Any]) -> str:
    """What a run says that a person has to put right, nothing where it ends well; any other exception is a defect."""
    logging.disable(logging.WARNING)
    try:
        run(values)
    except UserError as error:
        return " ".join(str(error).split())
    finally:
        logging.disable(logging.NOTSET)
    return ""


def plain_line_of(values: Mapping[str, Any]) -> str:
    """What `line_of` returns, of a message that was one line as it stood; the log is written as it is for a person."""
    try:
        run(values)
    except UserError as error:
        line = str(error)
    else:
        return ""
    assert line
    assert "\n" not in line
    return line


def look_parts_up_once(monkeypatch) -> None:
    """Which parts there are does not change meanwhile; to look takes most of the time of a parse."""
    for name in ("entry_points", "own_names"):
        monkeypatch.setattr(registry, name, cache(getattr(registry, name)))
