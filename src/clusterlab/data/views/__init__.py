"""Augmentation in batches on the device, with a random draw of its own for every sample."""

from collections.abc import Sequence
from typing import Literal, assert_never

from clusterlab.data.views.base import View
from clusterlab.data.views.contrastive import Contrastive
from clusterlab.data.views.plain import Plain
from clusterlab.data.views.randaugment import RandAugment
from clusterlab.data.views.settings import ViewSettings
from clusterlab.data.views.strong import Strong
from clusterlab.data.views.weak import Weak

__all__ = ["Contrastive", "Family", "Plain", "RandAugment", "Strong", "View", "Weak", "make_view"]

Family = Literal["plain", "contrastive", "weak", "strong", "randaugment"]


def make_view(family: Family, settings: ViewSettings, *, mean: Sequence[float], std: Sequence[float]) -> View:
    """The view of a family as a dataset's settings have it; `mean` and `std` per channel, of pixel/255."""
    match family:
        case "plain":
            return Plain(size=settings.size, mean=mean, std=std)
        case "contrastive":
            return Contrastive(settings.contrastive, size=settings.size, mean=mean, std=std)
        case "weak":
            return Weak(settings.weak, size=settings.size, mean=mean, std=std)
        case "strong":
            return Strong(settings.strong, size=settings.size, mean=mean, std=std)
        case "randaugment":
            return RandAugment(
                settings.randaugment,
                operations=settings.strong.operations,
                weak=settings.weak,
                size=settings.size,
                mean=mean,
                std=std,
            )
        case _:
            assert_never(family)
