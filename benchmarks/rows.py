"""Rows of the table of measurements: clusterlab beside the plain way to do the same work.

The two take turns, so that a change in the machine's speed meets both, and the ratio is the median of those of the
turns. Both have one thread where nothing else is said. What is measured is processor time, because other programs may
run beside it: with one thread it is what the clock on the wall shows on a quiet machine. On both sides glibc keeps
freed memory, as under clusterlab's command line.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch.utils.flop_counter import FlopCounterMode

from common import describe_machine, keep_freed_memory, write_figures

MATRIX = 1024
"""Side of the matrices by which the processor's rate is told."""


class Row(TypedDict):
    """What a script measured. A ratio above 1 says that ours is better, whatever the unit."""

    row: str
    work: str
    plain: str
    """The plain way, in words."""
    unit: str
    ours: float
    """The median, as `theirs` and `ratio`."""
    theirs: float
    ratio: float
    lowest: float
    """Of the turns' ratios, as `highest`."""
    highest: float
    turns: int
    at_least: float | None
    """The ratio to reach."""
    note: str


def parser(about: str, *, turns: int) -> argparse.ArgumentParser:
    """The options that all scripts of rows have."""
    options = argparse.ArgumentParser(description=about.splitlines()[0])
    options.add_argument("--json", type=Path, help="also write the figures there")
    options.add_argument("--turns", type=int, default=turns, help=f"of either side (default {turns})")
    options.add_argument("--trial", action="store_true", help="as little work as can be, to see that it runs")
    return options


def begin(*, threads: int = 1, **more: str) -> dict[str, Any]:
    """Set the conditions of all rows, and return the description of the machine."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    return describe_machine(allocator="glibc keeps freed memory", clock="processor time", **more)


def stopwatch() -> Callable[[], float]:
    """Start a clock that tells the processor time since then."""
    start = time.process_time()
    return lambda: time.process_time() - start


def seconds(work: Callable[[], object], calls: int = 1) -> float:
    """Processor time of a call, the mean of `calls`."""
    clock = stopwatch()
    for _ in range(calls):
        work()
    return clock() / calls


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], *, turns: int, calls: tuple[int, int] = (1, 1)
) -> tuple[list[float], list[float]]:
    """Seconds per call of both in each turn, after a call of each to warm up."""
    ours(), theirs()
    taken = [(seconds(ours, calls[0]), seconds(theirs, calls[1])) for _ in range(turns)]
    return [mine for mine, _ in taken], [other for _, other in taken]


def flops_of(work: Callable[[], object]) -> int:
    """Operations of the products and convolutions in a call: a multiplication and its sum are two."""
    with FlopCounterMode(display=False) as counter:
        work()
    total: int = counter.get_total_flops()
    return total


def matrix_rates(flops: float, ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How fast this processor multiplies matrices in float32 and bf16, and how fast both sides do their `flops`.

    What bf16 gives at most is the ratio of the first two, where products and convolutions are all.
    """
    rates = []
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(MATRIX, MATRIX, dtype=dtype)
        times, _ = in_turns(lambda matrix=matrix: matrix @ matrix, lambda: None, turns=5)
        rates.append(2 * MATRIX**3 / statistics.median(times) / 1e9)
    full, half = rates
    mine, other = (flops / statistics.median(taken) / 1e9 for taken in (ours, theirs))
    return (
        f"On one core this processor multiplies matrices at {full:.0f} GFLOP/s in float32 and at {half:.0f} in bf16, "
        f"{half / full:.1f} times as fast. The products and convolutions of a step come to {other:.0f} GFLOP/s in the "
        f"plain way and {mine:.0f} in ours, with all else that the step does in the time."
    )


def make_row(
    row: str,
    *,
    work: str,
    plain: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    unit: str = "s",
    images: int | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    """A row from what each turn took of either side; with `images`, those of a turn, it shows images per second."""
    ratios = [other / mine for mine, other in zip(ours, theirs, strict=True)]
    middle, other = (statistics.median(images / x if images else x for x in taken) for taken in (ours, theirs))
    return Row(
        row=row,
        work=work,
        plain=plain,
        unit="images/s" if images else unit,
        ours=shorter(middle),
        theirs=shorter(other),
        ratio=shorter(statistics.median(ratios)),
        lowest=shorter(min(ratios)),
        highest=shorter(max(ratios)),
        turns=len(ratios),
        at_least=at_least,
        note=note,
    )


def shorter(value: float) -> float:
    """Four digits of it."""
    return float(f"{value:.4g}")


def show(rows: Sequence[Row]) -> None:
    """Print the figures as a table, with a mark at the rows below their ratio."""
    print(f"\n{'':57}{'ours':>11}{'plain':>11}  {'':9}{'ratio':>8}{'(lowest to highest)':>21}{'at least':>10}")
    for row in rows:
        spread = f"({row['lowest']:,.3g} to {row['highest']:,.3g})"
        wanted = "" if row["at_least"] is None else f"{row['at_least']:.3g}"
        missed = "  BELOW" if row["at_least"] is not None and row["ratio"] < row["at_least"] else ""
        print(
            f"{row['row']:57}{row['ours']:11,.4g}{row['theirs']:11,.4g}  {row['unit']:9}{row['ratio']:8,.3g}"
            f"{spread:>21}{wanted:>10}{missed}",
            flush=True,
        )


def explain(rows: Sequence[Row]) -> None:
    """Print what was compared with what."""
    for row in rows:
        print(
            f"\n{row['row']}: {row['work']}\n  against {row['plain']}" + (f"\n  {row['note']}" if row["note"] else "")
        )


def finish(path: Path | None, machine: dict[str, Any], rows: Sequence[Row], **more: Any) -> None:
    """Show and explain the rows and, where `path` says, write them with `more` figures of the script's own."""
    show(rows)
    explain(rows)
    if path:
        write_figures(path, {"machine": machine, "rows": list(rows), **more})
