"""Counts of how the predicted class of an image changes from one visit to the next.

Our reading of ASD (https://arxiv.org/abs/2509.20976), which has no published code: it tracks "class transitions" to
learn which classes are alike. What exactly is counted we take from the authors' earlier PRG
(https://arxiv.org/abs/2308.08872) and SoC (https://arxiv.org/abs/2312.12237): a bank holds each image's last class; a
visit with another class counts one transition from the old to the new one. A window forgets what is older than a
number of updates. Ours holds `window` updates; the earlier code clears the next slot before it reads, and so holds one
less.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn


class Visits(NamedTuple):
    """For each visit of a batch, the class that its image had before and the one it has after the whole batch."""

    before: Int[Tensor, " b"]
    """−1: never visited."""
    after: Int[Tensor, " b"]


def follow(bank: Int[Tensor, " n"], index: Int[Tensor, " b"], classes: Int[Tensor, " b"]) -> Visits:
    """Take visits in their order, so that the second to the same image within a batch sees the class of the first.

    Args:
        bank: the class of each image at its last visit, −1 before the first.
        index: which images are visited.
        classes: what each visit finds.
    """
    order = index.argsort(stable=True)
    index, found = index[order], classes[order]
    # Visits to the same image are now side by side, in their order.
    first = torch.searchsorted(index, index)
    last = torch.searchsorted(index, index, right=True) - 1
    place = torch.arange(len(index), device=index.device)
    before, after = bank.new_empty(2, len(index))
    before[order] = torch.where(place == first, bank[index], found.roll(1))
    after[order] = found[last]
    return Visits(before, after)


class ClassTransitions(nn.Module):
    """The bank and the counts, as buffers: a run that goes on from a checkpoint counts as an unbroken one does."""

    bank: Tensor
    counts: Tensor
    """M × M, from the row's class to the column's, over the window; the diagonal is 0."""
    ring: Tensor
    """Transitions of each update in the window: pairs of classes, −1 for visits without one. Sparse, because a dense
    window × M × M would not fit for many classes."""
    pointer: Tensor
    """The slot of the oldest update, which the next one takes."""

    def __init__(self, *, samples: int, classes: int, window: int | None, visits: int) -> None:
        """Start without any visit.

        Args:
            samples: n, images that may be visited.
            classes: M, classes that may be predicted.
            window: updates that count; None: all of them.
            visits: the most that one update brings.
        """
        super().__init__()
        if min(samples, classes, visits) < 1 or (window is not None and window < 1):
            raise ValueError(f"sizes start at 1: {samples=}, {classes=}, {window=}, {visits=}")
        self.visits = visits
        self.window = window
        self.register_buffer("bank", torch.full((samples,), -1, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(classes, classes, dtype=torch.int64))
        if window is not None:
            self.register_buffer("ring", torch.full((window, visits, 2), -1, dtype=torch.int32))
            self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, index: Int[Tensor, " b"], classes: Int[Tensor, " b"]) -> None:
        """Count what a batch shows; an empty update takes a slot of the window too.

        No value is read back from the device, so that it need not be waited for.

        Args:
            index: images visited, by all processes; each of them counts all.
            classes: the class, from 0 to M − 1, that is now predicted for each.

        Raises:
            ValueError: there are more visits than a slot can hold.
        """
        if len(index) > self.visits:
            raise ValueError(f"an update of {len(index)} visits, where at most {self.visits} were announced")
        before, after = follow(self.bank, index, classes)
        # Several visits to one image all write the same.
        self.bank[index] = after
        moved = (before >= 0) & (before != classes)
        pairs = torch.stack([before, classes], dim=1).masked_fill(~moved[:, None], -1)
        self._count(pairs, 1)
        if self.window is not None:
            self._remember(pairs)

    def _remember(self, pairs: Int[Tensor, "b 2"]) -> None:
        """Put the transitions in the place of the oldest ones, which count no longer."""
        # Not self.ring[self.pointer], which would read the pointer back.
        place = self.pointer.view(1)
        self._count(self.ring.index_select(0, place)[0].long(), -1)
        slot = self.ring.new_full((1, self.visits, 2), -1)
        slot[0, : len(pairs)] = pairs.to(slot.dtype)
        self.ring.index_copy_(0, place, slot)
        self.pointer.add_(1).remainder_(len(self.ring))

    def _count(self, pairs: Int[Tensor, "b 2"], step: int) -> None:
        """Add `step` for each pair of classes, and nothing for −1."""
        counted = (pairs[:, 0] >= 0).long() * step
        old, new = pairs.clamp(min=0).unbind(dim=1)
        self.counts.index_put_((old, new), counted, accumulate=True)
