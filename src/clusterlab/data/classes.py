"""From class names or numbers to `Labels`; the values stay sealed in the image set."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer

from clusterlab.data.images import Labels


def from_names(names: Sequence[str | None]) -> Labels:
    """Number the classes in the alphabetical order of their names; None is not known."""
    known = sorted({name for name in names if name is not None})
    number: dict[str | None, int] = {name: c for c, name in enumerate(known)}
    return Labels(values=np.array([number.get(name, -1) for name in names], dtype=np.int64), names=tuple(known))


def from_numbers(values: Integer[np.ndarray, " n"]) -> Labels:
    """Number the classes 0, 1, … in the order of their numbers, which become their names; −1 is not known."""
    known = np.unique(values[values >= 0])
    positions = np.searchsorted(known, values)
    return Labels(
        values=np.where(values >= 0, positions, -1).astype(np.int64),
        names=tuple(str(number) for number in known),
    )
