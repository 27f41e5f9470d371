"""How many images have to be drawn at random so that every class is among them.

Our reading of ASD (https://arxiv.org/abs/2509.20976): it chooses by this probability how many images become classes of
their own. Classes are taken to be of even size; what is left over when samples are shared out evenly is left out.
Everything is counted in whole numbers, so there is no rounding before the last division.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import comb


def coverage_probability(drawn: int, clusters: int, samples: int) -> float:
    """1 − Σ_{i=1..k} (−1)^{i−1} · C(k, i) · C(n − i·n/k, n_l) / C(n, n_l), by inclusion and exclusion.

    0 below k draws; 1 above n − n/k of them, because those that are not drawn are then fewer than a class.

    Args:
        drawn: n_l images, without replacement.
        clusters: k classes of even size.
        samples: n images in all.

    Raises:
        ValueError: there are fewer images than classes, or than are drawn.
    """
    even = _shared_out(clusters, samples)
    if not 0 <= drawn <= samples:
        raise ValueError(f"{drawn} of {samples} images cannot be drawn")
    if drawn > even:
        return 1.0
    return sum(_terms(drawn, clusters, even)) / comb(even, drawn)


def fewest_that_cover(clusters: int, samples: int, *, probability: float) -> int:
    """Return the smallest number of draws at which `coverage_probability` is at least `probability`.

    Raises:
        ValueError: `probability` is not between 0 and 1, or there are fewer images than classes.
    """
    if not 0 < probability < 1:
        raise ValueError(f"a probability between 0 and 1 is needed, not {probability}")
    even = _shared_out(clusters, samples)
    # Doubling first: counting many draws is far slower than counting few.
    too_few, enough = clusters - 1, clusters
    while not _covers(enough, clusters, even, probability):
        too_few, enough = enough, min(2 * enough, even)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if _covers(middle, clusters, even, probability):
            enough = middle
        else:
            too_few = middle
    return enough


def _shared_out(clusters: int, samples: int) -> int:
    """Return how many samples classes of even size take."""
    if not 1 <= clusters <= samples:
        raise ValueError(f"{samples} images cannot hold {clusters} classes")
    return samples - samples % clusters


def _terms(drawn: int, clusters: int, even: int) -> Iterator[int]:
    """Yield for each i the signed number of draws that miss some i classes; their sum is what misses none."""
    for i in range(clusters + 1):
        yield (-1) ** i * comb(clusters, i) * comb(even // clusters * (clusters - i), drawn)


def _covers(drawn: int, clusters: int, even: int, probability: float) -> bool:
    """Tell whether the probability is reached.

    The sums up to i lie above the whole sum for even i and below it for odd i (Bonferroni), so that usually a few
    terms settle it.
    """
    # The number as it is written: a float of 0.9 lies a little above nine tenths.
    share, whole = Fraction(str(probability)).as_integer_ratio()
    goal = share * comb(even, drawn)
    total = 0
    for i, term in enumerate(_terms(drawn, clusters, even)):
        total += whole * term
        if i % 2 and total >= goal:
            return True
        if i % 2 == 0 and total < goal:
            return False
    return total >= goal
