"""Dashboards without an account, in the run's folder: TensorBoard's files or a CSV file, by Lightning's loggers."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger

from clusterlab.output.dashboard import About, Dashboard, scalars_of
from clusterlab.output.finished import FinishedRun

log = logging.getLogger(__name__)


class Local(Dashboard):
    """Hands scalars to one of Lightning's loggers."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self.logger = logger

    def send_epoch(self, stage: str, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Log `stage/metric` at the epoch."""
        self.logger.log_metrics({f"{stage}/{name}": value for name, value in metrics.items()}, step=epoch)
        self.logger.save()

    def send_result(self, run: FinishedRun, metrics: Mapping[str, Any], run_dir: Path) -> None:
        """Log the numbers of metrics.json."""
        numbers = {name: float(value) for name, value in scalars_of(metrics).items() if not isinstance(value, str)}
        self.logger.log_metrics(numbers, step=0)

    def end(self, *, failed: bool) -> None:
        """Write out what is left."""
        self.logger.finalize("failed" if failed else "success")


class TensorBoard(Local):
    """Event files in `RUN_DIR/tensorboard`."""

    def __init__(self, about: About) -> None:
        super().__init__(TensorBoardLogger(about.run_dir, name="tensorboard", version=""))
        log.info("dashboard: tensorboard --logdir %s", about.run_dir)

    def send_result(self, run: FinishedRun, metrics: Mapping[str, Any], run_dir: Path) -> None:
        """Add the picture of the clusters."""
        super().send_result(run, metrics, run_dir)
        assert isinstance(self.logger, TensorBoardLogger)
        with Image.open(run_dir / "clusters.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self.logger.experiment.add_image("clusters", pixels, dataformats="HWC")


class CsvFile(Local):
    """`RUN_DIR/csv/metrics.csv`: a row per stage and epoch, a column per `stage/metric`, written as the run goes on."""

    def __init__(self, about: About) -> None:
        with warnings.catch_warnings():
            # The same command again: its stages' histories are told anew.
            warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
            super().__init__(CSVLogger(about.run_dir, name="csv", version="", flush_logs_every_n_steps=1))
