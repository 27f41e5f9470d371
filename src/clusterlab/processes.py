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
from clusterlab.durable import refusals_told
from clusterlab.errors import LAUNCHED, MISTAKE, UserError, launched, line_of
from clusterlab.trainer import TrainerSettings

PATIENCE = timedelta(days=1)
"""How long a process waits for the others, of which one may compute alone for hours. A process that has died ends the
run at once: the launcher sees to that."""
BACKENDS = "cpu:gloo,cuda:nccl"
ASKED = {-signals.SIGTERM: signals.SIGTERM} | {128 + number: number for number in stopping.SIGNALS}
"""Exit codes of processes that were asked to end, and by which signal."""
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


def launch(words: Sequence[str], count: int, log_dir: Path) -> None:
    """Run this command in `count` processes; one that ends with an error ends them all.

    What the first process says goes to the terminal; what the others say goes to files below `log_dir`.

    Raises:
        ProcessError: one of them failed.
        Stopped: somebody wanted the command to end, or one of them.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What they have to say stands in the error below. Some have a level of their own.
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    shutil.rmtree(log_dir, ignore_errors=True)
    with refusals_told(log_dir, "run_dir"):
        log_dir.mkdir(parents=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
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
    os.environ[LAUNCHED] = str(log_dir.resolve())
    try:
        elastic_launch(config, sys.executable)("-m", "clusterlab", *words)
        shutil.rmtree(log_dir)
    except ChildFailedError as error:
        lines = {rank: said for rank in range(count) if (said := _said(log_dir, rank)) is not None}
        rank = _cause(error.failures, lines)
        failure = error.failures[rank]
        if failure.exitcode in ASKED and rank not in lines:
            raise stopping.Stopped(ASKED[failure.exitcode]) from error
        raise ProcessError(rank, failure, count=count, log_dir=log_dir, said=lines.get(rank)) from error
    except SignalException as error:
        raise stopping.Stopped(error.sigval) from error
    finally:
        del os.environ[LAUNCHED]  # the last line is this process's


def _cause(failures: Mapping[int, Any], lines: Mapping[int, str]) -> int:
    """Return the rank that failed first; `lines` are the mistakes that the ranks have noticed.

    A process that is killed takes the others with it: they complain that it is gone, or get a SIGTERM. So does one that
    has noticed a mistake before the others came to it. Where all were asked to end, one counts that says by what.
    """

    def late(rank: int) -> tuple[bool, bool, bool, int, int]:
        code = failures[rank].exitcode
        asked = code in ASKED and rank not in lines
        return asked, code < 0 if asked else code >= 0, rank not in lines, failures[rank].timestamp, rank

    return min(failures, key=late)


def _said(log_dir: Path, rank: int) -> str | None:
    """Return the line with which a process has told of a mistake, if it has."""
    try:
        return line_of(log_dir, rank).read_text(encoding="utf-8") or None
    except OSError:
        return None


class ProcessError(Exception):
    """One of several processes failed; `code` is what the command ends with."""

    def __init__(self, rank: int, failure: Any, *, count: int, log_dir: Path, said: str | None) -> None:
        self.told = rank == 0 and failure.exitcode > 0 and said is None
        """Whether its traceback is on the terminal."""
        if said is not None:
            self.code = MISTAKE
            super().__init__(said)
            return
        self.code = failure.exitcode if failure.exitcode > 0 else 1
        how = f"signal {failure.signal_name()}" if failure.exitcode < 0 else f"exit code {failure.exitcode}"
        where = f"; what it said is below {log_dir}" if rank else ""
        super().__init__(
            f"process {rank + 1} of {count} ended with {how}, and the others with it{where}; "
            "the same command goes on where it stopped"
        )


def _die_with_launcher() -> None:
    """Have Linux end this process when the one that started it ends, in whatever way."""
    if launched() and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DIED, signals.SIGKILL)
