"""Devices, precision and length limits: what the Lightning Trainer of every stage is made with."""

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt

from clusterlab.errors import UserError
from clusterlab.settings import Settings

Precision = Literal["32-true", "bf16-mixed"]


class TrainerSettings(Settings):
    """How stages are trained; only precision and the two limits can change a result."""

    throughput: ClassVar[frozenset[str]] = frozenset(
        {"name", "accelerator", "devices", "checkpoint_seconds", "channels_last", "compile", "inference_batch"}
    )

    name: str
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: PositiveInt | Literal["auto"]
    """Processes to start, each with a device of its own; auto: as many as there are GPUs. Where torchrun or SLURM has
    started the processes, it says how many there are."""
    precision: Literal["auto", "32-true", "bf16-mixed"]
    """auto: bf16 where the hardware computes in it, else float32."""
    channels_last: bool
    compile: bool
    """Compile the backbones of stages that train, for one GPU: a minute or so at the start of each stage. On a CPU,
    where it does not pay, and on several devices they are left as they are."""
    checkpoint_seconds: NonNegativeFloat
    """A checkpoint is written at the end of an epoch when so many seconds have passed since the last one."""
    inference_batch: PositiveInt
    """Images per forward pass where nothing is trained."""
    max_epochs: PositiveInt | None
    """Upper limit on every stage's epochs, to try a composition quickly; null: none."""
    max_steps_per_epoch: PositiveInt | None
    """Upper limit on the steps of an epoch; null: none."""

    def resolved(self) -> "TrainerSettings":
        """Return the settings with every 'auto' decided for this machine.

        Raises:
            UserError: more GPUs were asked for than there are.
        """
        has_gpu = torch.cuda.is_available()
        accelerator = ("gpu" if has_gpu else "cpu") if self.accelerator == "auto" else self.accelerator
        if accelerator == "gpu" and not has_gpu:
            raise UserError("trainer.accelerator=gpu, but torch sees no GPU: use trainer=cpu, or see `nvidia-smi`")
        precision = self.precision
        if precision == "auto":
            precision = "bf16-mixed" if computes_in_bf16(accelerator) else "32-true"
        devices = self.devices
        if devices == "auto":
            devices = torch.cuda.device_count() if accelerator == "gpu" else 1
        if accelerator == "gpu" and devices > torch.cuda.device_count():
            raise UserError(
                f"trainer.devices={devices}, but torch sees {torch.cuda.device_count()} GPUs: use trainer.devices=auto"
            )
        compiled = self.compile and accelerator == "gpu" and devices == 1
        return self.model_copy(
            update={"accelerator": accelerator, "precision": precision, "devices": devices, "compile": compiled}
        )

    @property
    def device(self) -> torch.device:
        """The device of this process, once resolved."""
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """What forward passes compute in, or None for float32."""
        return torch.bfloat16 if self.precision == "bf16-mixed" else None

    @property
    def memory_format(self) -> torch.memory_format:
        """Layout of images and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def epochs(self, wanted: int) -> int:
        """Return `wanted`, or the limit where there is one."""
        return wanted if self.max_epochs is None else min(wanted, self.max_epochs)


def computes_in_bf16(accelerator: Literal["cpu", "gpu"]) -> bool:
    """Return whether this machine's CPU, or its GPU, computes in bfloat16 itself."""
    if accelerator == "gpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
