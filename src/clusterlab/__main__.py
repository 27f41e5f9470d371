"""The command line: `python -m clusterlab method=scan data=digits`. The only module that knows Hydra and OmegaConf.

Nothing heavy is imported before the config is composed, so that `--help` answers at once.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from clusterlab.errors import UserError
from clusterlab.explain import explain
from clusterlab.other_packages import check_configs, config_folders


def config_folder() -> Path:
    """Return the folder of the shipped configs: inside the wheel, or beside src/ in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


class OtherPackages(SearchPathPlugin):
    """Has Hydra look for configs in other packages, too, after ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Hydra's hook."""
        for package, folder in config_folders().items():
            search_path.append(package, f"file://{folder}")


STARTED_JOBS: list[str] = []
FAILED_JOBS: list[str] = []


@hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")
def _task(config: DictConfig) -> None:
    STARTED_JOBS.append(HydraConfig.get().job.override_dirname)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _run_in_own_process(list(HydraConfig.get().overrides.task))
        return
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    from clusterlab.run import run

    try:
        check_configs(HydraConfig.get().runtime.choices, config_folder())
        run({str(name): value for name, value in values.items()})
    except UserError as error:
        if values["debug"]:
            raise
        _end(str(error), 2)


def _run_in_own_process(overrides: list[str]) -> None:
    """Run one job of a sweep as a process of its own: its memory is freed, and its failure does not stop the rest."""
    done = subprocess.run([sys.executable, "-m", "clusterlab", *overrides], check=False)
    if done.returncode != 0:
        FAILED_JOBS.append(" ".join(overrides))


def main() -> None:
    """Compose the config and run it; a person's mistake is one line and exit code 2."""
    _keep_large_blocks()
    Plugins.instance().register(OtherPackages)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions over instead of printing them
    STARTED_JOBS.clear()
    FAILED_JOBS.clear()
    try:
        _task()
    except KeyboardInterrupt:
        _end("stopped; the same command goes on where it stopped", 130)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        if STARTED_JOBS or "debug=true" in sys.argv:  # what fails after the composition is no mistyped command
            raise
        _end(explain(error, sys.argv[1:], _compose), 2)
    if FAILED_JOBS:
        _end(f"{len(FAILED_JOBS)} jobs of the sweep failed: {'; '.join(FAILED_JOBS)}", 1)


def _compose(overrides: list[str]) -> dict[str, Any]:
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = OmegaConf.to_container(hydra.compose("config", overrides=overrides))
    assert isinstance(composed, dict)
    return {str(name): value for name, value in composed.items()}


def _end(message: str, code: int) -> None:
    print(f"clusterlab: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _keep_large_blocks() -> None:
    """Have glibc keep freed blocks for the next step instead of giving them back to the system every time.

    A training step on the CPU spends up to a third of its time on the page faults otherwise.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold, one_gib = -1, -3, 1 << 30
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, one_gib)
        libc.mallopt(trim_threshold, one_gib)
    except (OSError, AttributeError):
        return  # another C library: only slower


if __name__ == "__main__":
    main()
