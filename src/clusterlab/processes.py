"""Several processes that train together: starting them, and how each finds the others.

A run of more than one device is the same command in as many processes. `torchrun` or SLURM may have started them, here
or on several machines; otherwise the command starts them itself (`launch`), on this machine. From then on
`clusterlab.ranks` tells the processes apart.
"""

import ctypes
import logging
import os
import shutil
import signal as signals
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from clusterlab import ranks, stopping
from clusterlab.errors import MISTAKE, TOLD, UserError
from clusterlab.trainer import TrainerSettings

PATIENCE = timedelta(days=1)
"""How long a process waits for the others, of which one may compute alone for hours. A process that has died ends the
run at once: the launcher sees to that."""
BACKENDS = "cpu:gloo,cuda:nccl"
LAUNCHED = "CLUSTERLAB_LAUNCHED"
"""Environment variable of processes that this module has started."""
PARENT_DIED = 1
"""prctl's PR_SET_PDEATHSIG."""


def environment() -> ClusterEnvironment | None:
    """Return what says which of several processes this one is; None in a process that is alone."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        return SLURMEnvironment(auto_requeue=False)
    return None


def join(settings: TrainerSettings) -> None:
    """Meet the other processes, if this one is not alone.

    Raises:
        UserError: there are more processes on this machine than devices.
    """
    found = environment()
    if found is None or found.world_size() == 1 or distributed.is_initialized():
        return
    _die_with_launcher()
    if threading.current_thread() is threading.main_thread():
        # Whoever waits for the others would not come to obey it, and nothing can be saved without them.
        signals.signal(signals.SIGTERM, signals.SIG_DFL)
    if settings.accelerator == "gpu":
        if found.local_rank() >= torch.cuda.device_count():
            raise UserError(
                f"{_local_size(found)} processes on this machine, but torch sees {torch.cuda.device_count()} GPUs: "
                "start one process for each GPU"
            )
        torch.cuda.set_device(found.local_rank())
    distributed.init_process_group(
        BACKENDS if settings.accelerator == "gpu" else "gloo",
        init_method=f"tcp://{found.main_address}:{found.main_port}"
        if isinstance(found, SLURMEnvironment)
        else "env://",
        rank=found.global_rank(),
        world_size=found.world_size(),
        timeout=PATIENCE,
    )


def trainer_arguments() -> dict[str, Any]:
    """Return what Lightning's Trainer has to know of the processes."""
    found = environment()
    if ranks.world_size() == 1:
        return {"devices": 1}
    if found is None:  # processes that were joined by hand, all on this machine
        return {"devices": ranks.world_size(), "strategy": _strategy(_Joined())}
    here = _local_size(found)
    return {"devices": here, "num_nodes": found.world_size() // here, "strategy": _strategy(found)}


def _strategy(found: ClusterEnvironment) -> DDPStrategy:
    # Buffers are the same on every rank: they come from the batch of all, as do the losses.
    known = signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    unsynced: dict[str, Any] = {name: False}
    return DDPStrategy(cluster_environment=found, gradient_as_bucket_view=True, **unsynced)


def _local_size(found: ClusterEnvironment) -> int:
    """Return the number of processes on this machine."""
    if isinstance(found, SLURMEnvironment):
        return int(os.environ.get("SLURM_NTASKS_PER_NODE") or found.world_size() // int(os.environ["SLURM_NNODES"]))
    return int(os.environ["LOCAL_WORLD_SIZE"])


class _Joined(TorchElasticEnvironment):
    """Processes whose numbers stand in the process group alone."""

    def world_size(self) -> int:
        return ranks.world_size()

    def global_rank(self) -> int:
        return ranks.rank()

    def local_rank(self) -> int:
        return ranks.rank()

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Nothing was set by anybody."""


def missing(settings: TrainerSettings) -> int:
    """Return how many processes this command has to start: 0 if it runs alone or is one of several already."""
    return 0 if environment() is not None or settings.devices == 1 else int(settings.devices)


def launched() -> bool:
    """Return whether another process of this command has started this one."""
    return LAUNCHED in os.environ


def launch(words: Sequence[str], count: int, log_dir: Path) -> None:
    """Run this command in `count` processes; one that ends with an error ends them all.

    What the first process says goes to the terminal; what the others say goes to files below `log_dir`.

    Raises:
        ProcessError: one of them failed.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What it has to say stands in the error below.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ[LAUNCHED] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="processes",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        monitor_interval=0.2,
        logs_specs=DefaultLogsSpecs(log_dir=str(log_dir), redirects=dict.fromkeys(range(1, count), Std.ALL)),
    )
    shutil.rmtree(log_dir, ignore_errors=True)
    try:
        elastic_launch(config, sys.executable)("-m", "clusterlab", *words)
        shutil.rmtree(log_dir)
    except ChildFailedError as error:
        raise ProcessError(*_cause(error.failures), count=count, log_dir=log_dir) from error
    except SignalException as error:
        raise stopping.Stopped(error.sigval) from error


def _cause(failures: Mapping[int, Any]) -> tuple[int, Any]:
    """Return the rank that failed first, and how.

    A process that is killed takes the others with it: they complain that it is gone, or get a SIGTERM. A mistake is
    noticed by all of them at about the same time, and told on the terminal by the first one.
    """

    def late(rank: int) -> tuple[bool, bool, bool, int, int]:
        code = failures[rank].exitcode
        told = rank == 0 and code == MISTAKE
        return code == -signals.SIGTERM, code >= 0, not told, failures[rank].timestamp, rank

    rank = min(failures, key=late)
    return rank, failures[rank]


class ProcessError(Exception):
    """One of several processes failed; `code` is what the command ends with."""

    def __init__(self, rank: int, failure: Any, *, count: int, log_dir: Path) -> None:
        self.code = failure.exitcode if failure.exitcode > 0 else 1
        self.told = rank == 0 and failure.exitcode > 0
        """Whether its message is on the terminal."""
        if failure.exitcode == MISTAKE and (said := _said(log_dir, rank)):
            super().__init__(said)
            return
        how = f"signal {failure.signal_name()}" if failure.exitcode < 0 else f"exit code {failure.exitcode}"
        where = f"; what it said is below {log_dir}" if rank else ""
        super().__init__(
            f"process {rank + 1} of {count} ended with {how}, and the others with it{where}; "
            "the same command goes on where it stopped"
        )


def _said(log_dir: Path, rank: int) -> str | None:
    """Return the line with which a process that is not the first has told of a mistake, if it has."""
    lines = [line for path in log_dir.rglob(f"{rank}/stderr.log") for line in path.read_text("utf-8").splitlines()]
    told = (line.removeprefix(TOLD) for line in reversed(lines) if line.startswith(TOLD))
    return next(told, None)


def _die_with_launcher() -> None:
    """Have Linux end this process when the one that started it ends, in whatever way."""
    if launched() and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, signals.SIGKILL)
