"""k-means by scikit-learn, as every run needs it: the baseline, and the head of that name."""

import warnings

import torch
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from clusterlab.errors import UserError
from clusterlab.rng import generator_for, seed_for

GIB = 2**30


def kmeans_centres(
    values: Float[Tensor, "n d"],
    *,
    clusters: int,
    restarts: int,
    purpose: tuple[int | str, ...],
    in_place: bool = False,
) -> Float[Tensor, "k d"]:
    """Return the centres of the best of `restarts` runs by inertia; no more centres than rows.

    The mean is taken off a copy of `values` or, `in_place`, off themselves: with half the memory the same centres, but
    the values, to which it is added again, are then others by rounding.
    """
    model = KMeans(
        min(clusters, len(values)), n_init=restarts, random_state=seed_for(*purpose) % 2**32, copy_x=not in_place
    )
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: some centres coincide, and the report names the empty clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(model.fit(values.float().numpy()).cluster_centers_)


def fitted_part(
    pool: Int[Tensor, " n"], *, width: int, limit: float, purpose: tuple[int | str, ...]
) -> Int[Tensor, " m"]:
    """Return those of the `pool` to fit on: all, or as many at random as take `limit` GiB with `width` floats each.

    Raises:
        UserError: not one image does.
    """
    most = int(limit * GIB) // (4 * width)
    if not most:
        raise UserError(
            f"fit_limit={limit:g} has no room for a single image: use a higher baseline.fit_limit, head.fit_limit"
        )
    if len(pool) <= most:
        return pool
    drawn = torch.randperm(len(pool), generator=generator_for(*purpose, "fitted"))[:most]
    return pool[drawn.sort().values]


def nearest_centre(values: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Int[Tensor, " n"]:
    """Return for each row the centre at the smallest Euclidean distance."""
    nearest = [torch.cdist(block, centres).argmin(dim=1) for block in torch.split(values.float(), 8192)]
    return torch.cat(nearest)
