"""What every dashboard has in common: whatever goes wrong in it is one line in the log, and the run goes on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from clusterlab.output.finished import FinishedRun

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline", "disabled"]
"""Of W&B. `auto` is what WANDB_MODE says, otherwise online where an API key is configured and offline where none is."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a dashboard is told at the start."""

    run_dir: Path
    config: Mapping[str, Any]
    group: str
    name: str
    """Of the run, within its group."""
    project: str
    mode: Mode
    timeout: float
    """Seconds that a server may delay the run, in all."""


class Dashboard:
    """Takes everything and does nothing. A subclass says what is done; after its first failure it does nothing, too.

    A stage that was loaded, or trained in part by an earlier process, is told from its history as if it were trained.
    """

    def __init__(self) -> None:
        self._alive = True

    def record(self, stage: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Take the scalars of one epoch."""
        self._safely(lambda: self.send_epoch(stage, epoch, step, metrics))

    def finish(self, run: FinishedRun, metrics: Mapping[str, Any], run_dir: Path) -> None:
        """Take what the run left in `run_dir`, of which `metrics` is metrics.json, and close."""
        self._safely(lambda: self.send_result(run, metrics, run_dir))
        self.close()

    def close(self, *, failed: bool = False) -> None:
        """End; closing twice is once."""
        self._safely(lambda: self.end(failed=failed))
        self._alive = False

    def __enter__(self) -> "Dashboard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def send_epoch(self, stage: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Show the scalars as `stage/metric` over the stage's own epochs."""

    def send_result(self, run: FinishedRun, metrics: Mapping[str, Any], run_dir: Path) -> None:
        """Show the result."""

    def end(self, *, failed: bool) -> None:
        """Write out what is left."""

    def _safely(self, send: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            send()
        except Exception as error:  # whatever a library raises, the run goes on
            gave_up(type(self).__name__, error)
            self._alive = False


def gave_up(name: str, error: Exception) -> None:
    """Say in one line that the run goes on without a dashboard."""
    log.warning("%s failed (%s): going on without it", name, f"{type(error).__name__}: {error}".splitlines()[0])


def scalars_of(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float | int | str]:
    """Return the scalars of metrics.json, nested ones as `baseline/acc`, those of a stage as `student/acc`."""
    found: dict[str, float | int | str] = {}
    for name, value in metrics.items():
        if name == "stages":
            for stage in value:
                rest = {key: of_stage for key, of_stage in stage.items() if key != "name"}
                found |= scalars_of(rest, f"{prefix}{stage['name']}/")
        elif isinstance(value, Mapping):
            found |= scalars_of(value, f"{prefix}{name}/")
        elif isinstance(value, int | float | str):
            found[f"{prefix}{name}"] = value
    return found
