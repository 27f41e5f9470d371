"""What ends a stage through its settings or for want of room, said in one line that names what to change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clusterlab.errors import UserError
from clusterlab.finite import NotFiniteError
from clusterlab.memory import out_of_memory
from clusterlab.stage_checkpoint import CHECKPOINT

COLD = 0.01
"""A temperature below it divides logits into infinity."""
HEAVY = 1e4
"""A weight above it drowns the rest of the loss."""
SIZES = (
    "batch_size", "unlabelled_ratio", "num_heads", "hidden_dim", "num_instances", "window", "view_batch_size",
    "queue_size", "projection_dim", "fit_limit",
)  # fmt: skip
"""Settings that decide how much memory a stage takes, where it has them."""


@contextmanager
def in_one_line(section: str, part: str, *, settings: Mapping[str, Any], remedy: str, folder: Path) -> Iterator[None]:
    """Turn what a stage raises into a line.

    Args:
        section: of the stage.
        part: its name.
        settings: its own.
        remedy: what to change where numbers are not finite, see `likely_cause`.
        folder: the stage's, in which its last checkpoint may lie.

    Raises:
        UserError: numbers are no longer finite, or the memory is too small.
    """
    try:
        yield
    except NotFiniteError as error:
        kept = folder / CHECKPOINT
        good = f"; the last good checkpoint is kept: {kept}" if kept.exists() else ""
        raise UserError(f"{section}={part}: {error}, so the training has diverged: {remedy}{good}") from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        names = [f"{section}.{name} (it is {settings[name]})" for name in SIZES if settings.get(name) is not None]
        lower = ", ".join([*names, "data.memory_limit, data.limit"])
        raise UserError(f"{section}={part}: there is not enough memory: use a lower {lower}") from error


def likely_cause(section: str, settings: Mapping[str, Any], precision: str) -> str:
    """Return which setting of a stage to change: the most suspicious one."""
    values = dict(_numbers(settings))
    cold = [name for name, value in values.items() if "temperature" in name and value < COLD]
    heavy = [name for name, value in values.items() if "weight" in name and value > HEAVY]
    rate = [name for name in ("optimiser.lr",) if name in values]
    suspects = [("higher", name) for name in cold] + [("lower", name) for name in heavy + rate]
    if not suspects:
        return "see what goes into it"
    way, name = suspects[0]
    advice = f"use a {way} {section}.{name} (it is {values[name]:g})"
    return f"{advice}, or trainer.precision=32-true" if precision == "bf16-mixed" else advice


def _numbers(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value
