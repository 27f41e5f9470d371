"""A part of a dataset, for a quick try: `data.limit`."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
import torch

from clusterlab.data.images import Split
from clusterlab.rng import generator_for


def subset(splits: Sequence[Split], limit: int | None) -> list[int]:
    """Return, ascending, the positions of at most `limit` images of each split.

    They are drawn at random, because files lie sorted by class: the first `limit` would be of one class. The
    draw depends on the number of images alone, so that every seed of a sweep sees the same images.
    """
    if limit is None:
        return list(range(len(splits)))
    chosen: list[int] = []
    for name in get_args(Split):
        pool = np.flatnonzero(np.array(splits) == name)
        order = torch.randperm(len(pool), generator=generator_for("subset", name))
        chosen += pool[order[:limit].numpy()].tolist()
    return sorted(chosen)
