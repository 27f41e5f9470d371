"""Runs and sweeps: `python -m clusterlab method=scan data=digits`. The only module that knows Hydra and OmegaConf.

Nothing heavy is imported before the config is composed, so that a mistyped word is answered at once.
"""

import itertools
import os
import platform
import sys
import uuid
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal import hydra as hydra_application
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from clusterlab import stopping, sweep
from clusterlab.choices import config_folder
from clusterlab.errors import MISTAKE, UserError, tell
from clusterlab.explain import explain
from clusterlab.inert_configs import see_inert
from clusterlab.other_packages import check_configs, config_folders
from clusterlab.output.safe_text import one_line
from clusterlab.sweep_records import Plan, setting_of
from clusterlab.yaml_size import see_size

SWEEPS = Path("outputs", "sweeps")
MISTAKES = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
"""What the composition raises for a mistyped command."""


class OtherPackages(SearchPathPlugin):
    """Has Hydra look for configs in other packages, too, after ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Hydra's hook."""
        for package, folder in config_folders().items():
            search_path.append(package, f"file://{folder}")


class SmallConfigs(ConfigRepository):
    """Refuses a file that would become too large, before Hydra makes anything of it."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        """As Hydra's."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is not None and source.scheme() == "file":
            see_size(Path(source.path, source._normalize_file_name(config_path)))
        return super().load_config(config_path)


class InertConfigs(ConfigLoaderImpl):
    """Refuses a config that would run code, before Hydra looks at its own part of it."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        """As Hydra's."""
        super().__init__(config_search_path)
        self.repository = SmallConfigs(config_search_path)

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *more: Any, **options: Any
    ) -> DictConfig:
        """As Hydra's."""
        config = super().load_configuration(config_name, overrides, *more, **options)
        plain = OmegaConf.to_container(config.hydra, resolve=False)
        assert isinstance(plain, dict)
        if config_name is not None:  # for its help Hydra asks for its own values alone
            see_inert({str(name): value for name, value in plain.items()}, overrides)
        return config


STARTED: list[bool] = []
"""Not empty once the run's config is composed: what fails after that is no mistyped command."""


@hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")
def _task(config: DictConfig) -> float | None:
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    values = {str(name): value for name, value in container.items()}
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        template = OmegaConf.to_container(config, resolve=False)
        assert isinstance(template, dict)
        return _run_job(values, str(template["run_dir"]))
    STARTED.append(True)
    _run_one(values)
    return None


def _run_one(values: dict[str, Any]) -> None:
    from clusterlab.processes import ProcessError
    from clusterlab.run import run_or_launch

    try:
        with stopping.not_swallowed():
            check_configs(HydraConfig.get().runtime.choices, config_folder())
            run_or_launch(values, sys.argv[1:])
    except ProcessError as error:
        if error.told:
            sys.exit(error.code)
        _end(str(error), error.code)
    except UserError as error:
        if values["debug"]:
            raise
        _end(str(error), MISTAKE)


def _run_job(values: dict[str, Any], run_dir_template: str) -> float | None:
    """Run one job of a sweep, maybe in a process that a launcher started; return what a search maximises."""
    about = HydraConfig.get()
    words = tuple(about.overrides.task)
    record = sweep.run_job(sweep.Job(Path(about.sweep.dir), about.job.num, words, values, run_dir_template))
    return sweep.objective(record.metrics)


def _run_sweep(arguments: Namespace) -> None:
    """Have Hydra run the jobs of `arguments`, in the folder that these words always have; end with 1 if one failed."""
    for word in arguments.overrides:
        sweep.check_plugin(word)
    overrides = _parse(arguments.overrides)
    settings = [override for override in overrides if not override.is_hydra_override()]
    varied = [override for override in settings if override.is_sweep_override()]
    for override in varied:
        sweep.check_choices(override.get_key_element(), _choices(override))
    options = [f"--{name}={value}" for name in ("config-dir", "config-name") if (value := _option(arguments, name))]
    options += [word for word in arguments.overrides if word.startswith("hydra.searchpath=")]
    search = sweep.words_of_search(arguments.overrides)
    plan = Plan(
        id=uuid.uuid4().hex,
        host=platform.node(),
        fixed=tuple(setting_of(o.get_key_element()) for o in settings if o not in varied),
        options=tuple(options),
        count=0 if "hydra/sweeper=optuna" in arguments.overrides else len(list(_grid(overrides))),
    )
    words = [str(override.input_line) for override in settings]
    chosen = next((o.value() for o in overrides if o.key_or_group == "hydra.sweep.dir"), None)
    folder = Path(str(chosen or SWEEPS / sweep.sweep_name([*words, *options], [str(o.input_line) for o in varied])))
    more = search if chosen else [*search, f"hydra.sweep.dir='{folder}'"]
    place = sys.argv.index(arguments.overrides[0]) if arguments.overrides else len(sys.argv)
    sys.argv[place:place] = more  # beside the other words: argparse wants them together
    sys.exit(sweep.run_sweep(folder, plan, _task))


def run_words() -> None:
    """Compose the config of the command's words and run it; a person's mistake is one line and exit code 2."""
    Plugins.instance().register(OtherPackages)
    hydra_application.ConfigLoaderImpl = InertConfigs  # type: ignore[attr-defined]  # where Hydra makes its own
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions over instead of printing them
    sweep.end_with_sweep()
    STARTED.clear()
    arguments, _ = get_args_parser().parse_known_args()
    try:
        if arguments.multirun:
            _run_sweep(arguments)
        else:
            _task()
    except stopping.Stopped:
        sweep.say_why(stopping.how_to_go_on())
        raise
    except Exception as error:
        if isinstance(error, UserError) and not STARTED:
            _end(str(error), MISTAKE)
        if STARTED or "debug=true" in arguments.overrides or not isinstance(error, MISTAKES):
            sweep.say_why(f"{type(error).__name__}: {error}".splitlines()[0])
            raise
        _end(_explain(error, arguments), MISTAKE)


def _explain(error: Exception, arguments: Namespace) -> str:
    """Return one line; for a sweep, on the first of its jobs that cannot be composed."""
    try:
        jobs = list(_grid(_parse(arguments.overrides))) if arguments.multirun else []
    except MISTAKES:
        jobs = []  # the words cannot be read at all
    for number, words in enumerate(jobs):
        try:
            _compose(words)
        except MISTAKES as found:
            where = f"; in job {number + 1}: {' '.join(words)}" if number else ""
            return explain(found, words, _compose) + where
    return explain(error, arguments.overrides, _compose)


def _parse(words: Sequence[str]) -> list[Override]:
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return OverridesParser.create(config_loader=loader).parse_overrides(list(words))


def _grid(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Yield the words of each job; of an interval, those of its one end."""
    settings = {o.get_key_element(): _choices(o) for o in overrides if not o.is_hydra_override()}
    for values in itertools.product(*settings.values()):
        yield [f"{name}={value}" for name, value in zip(settings, values, strict=True)]


def _choices(override: Override) -> list[str]:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start)]
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _option(arguments: Namespace, name: str) -> str | None:
    return getattr(arguments, name.replace("-", "_"), None)


def _compose(overrides: list[str]) -> dict[str, Any]:
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = OmegaConf.to_container(hydra.compose("config", overrides=overrides))
    assert isinstance(composed, dict)
    return {str(name): value for name, value in composed.items()}


def _end(message: str, code: int) -> None:
    line = one_line(" ".join(message.split()))
    sweep.say_why(line)
    tell(line)
    sys.exit(code)
