"""The run on Weights & Biases. Nothing here can ask, hang or fail: the worst is one line in the log.

wandb is imported here only, and only when a dashboard is opened.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline", "disabled"]
FINISH_FACTOR = 3
"""The upload at the end may take so many times as long as an answer."""


class Dashboard:
    """One W&B run; one without a run (`None`) takes everything and does nothing."""

    def __init__(self, run: Any | None) -> None:
        self._run = run
        self._stages: set[str] = set()

    def record(self, stage: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Log the scalars of one epoch as `stage/metric` over the stage's own epochs."""

        def send(run: Any) -> None:
            if stage not in self._stages:
                self._stages.add(stage)
                run.define_metric(f"{stage}/epoch", hidden=True)
                run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
            scalars = {f"{stage}/{name}": value for name, value in metrics.items()}
            run.log(scalars | {f"{stage}/epoch": epoch, f"{stage}/step": step})

        self._safely(send)

    def finish(self, metrics: Mapping[str, Any], report_path: Path) -> None:
        """Add the final scores, the report and the overview beside it, and close."""

        def send(run: Any) -> None:
            import wandb

            run.summary.update({name: value for name, value in metrics.items() if _is_scalar(value)})
            run.log({
                "report": wandb.Html(report_path.read_text(encoding="utf-8"), inject=False),
                "clusters": wandb.Image(str(report_path.with_name("clusters.png"))),
            })  # fmt: skip

        self._safely(send)
        self.close()

    def close(self, *, failed: bool = False) -> None:
        """End the run; closing twice is once."""
        self._safely(lambda run: run.finish(exit_code=int(failed)))
        self._run = None

    def __enter__(self) -> "Dashboard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def _safely(self, send: Callable[[Any], None]) -> None:
        if self._run is None:
            return
        try:
            send(self._run)
        except Exception as error:  # whatever wandb raises, the run goes on
            log.warning("wandb failed (%s): going on without it", _first_line(error))
            self._run = None


def open_dashboard(
    mode: Mode,
    *,
    project: str,
    run_dir: Path,
    config: Mapping[str, Any],
    group: str,
    name: str,
    timeout: float,
) -> Dashboard:
    """Start a W&B run named `name` within `group`, or a dashboard that does nothing.

    `auto` is what WANDB_MODE says, otherwise online where an API key is configured and offline where none is.
    `timeout`: seconds that the server may take to answer.
    """
    wanted = os.environ.get("WANDB_MODE", mode) if mode == "auto" else mode
    if wanted == "disabled":
        return Dashboard(None)
    try:
        import wandb
    except ImportError as error:
        level = logging.INFO if wanted == "auto" else logging.WARNING
        log.log(level, "no dashboard: wandb cannot be imported (%s)", _first_line(error))
        return Dashboard(None)
    try:
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=timeout,
            finish_timeout=FINISH_FACTOR * timeout,
            finish_timeout_raises=True,
            disable_git=True,
            disable_job_creation=True,
            save_code=False,
        )
        wandb.setup(settings)
        online = wanted != "offline" and _has_key(wandb)
        if wanted == "online" and not online:
            log.warning("wandb.mode=online, but no API key is configured: recording offline")
        run = wandb.init(
            project=project,
            group=group,
            name=name,
            dir=run_dir,
            config=dict(config),
            mode="online" if online else "offline",
            reinit="create_new",
            settings=settings,
        )
    except Exception as error:
        log.warning("wandb failed (%s): going on without it", _first_line(error))
        return Dashboard(None)
    if online:
        log.info("dashboard: %s", run.url)
    else:
        log.info("dashboard offline; to upload it: wandb sync %s", Path(run.dir).parent)
    return Dashboard(run)


def _has_key(wandb: Any) -> bool:
    """Whether a key is configured: in the environment, in .netrc, in wandb's settings. Asks nobody."""
    return bool(wandb.login(prompt=False, verify=False))


def _is_scalar(value: object) -> bool:
    return isinstance(value, int | float | str)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
