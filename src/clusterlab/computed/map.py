"""Two coordinates per image for the map in the report: t-SNE of the network's embeddings."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from clusterlab.artifacts import Assignments, Projection
from clusterlab.rng import generator_for, seed_for
from clusterlab.stage import PartSettings, Stage, Work

FEWEST = 5
"""Fewer images than this are not worth a map."""


class MapSettings(PartSettings):
    """`max_images`: a random subset of that size is drawn; `perplexity`: about how many neighbours count."""

    max_images: PositiveInt
    perplexity: PositiveFloat


class DrawMap(Stage):
    """Projects scored images to the plane."""

    Settings: ClassVar[type[PartSettings]] = MapSettings
    consumes: ClassVar[Mapping[str, type]] = {"assignments": Assignments}
    produces = Projection

    def __init__(self, *, settings: MapSettings, work: Work, assignments: Assignments) -> None:
        self.settings = settings
        self.work = work
        self.assignments = assignments

    def run(self) -> Projection:
        """Return coordinates; NaN for images that are not drawn."""
        from sklearn.manifold import TSNE

        work = self.work
        pool = work.images.eval_index
        order = torch.randperm(len(pool), generator=generator_for(work.seed, work.title))
        drawn = pool[order[: self.settings.max_images]].sort().values
        points = torch.full((len(work.images), 2), math.nan)
        embeddings = self.assignments.embeddings[drawn].float()
        # t-SNE crashes the process on embeddings that are all equal.
        if len(drawn) >= FEWEST and bool((embeddings != embeddings[0]).any()):
            perplexity = min(self.settings.perplexity, (len(drawn) - 1) / 3)
            model = TSNE(perplexity=perplexity, init="pca", random_state=seed_for(work.seed, work.title) % 2**32)
            points[drawn] = torch.from_numpy(model.fit_transform(embeddings.numpy())).float()
        return Projection(points=points)
