"""A trained clustering that labels new images: `clusterlab.load(run_dir).predict(images)`.

Images are decoded, cropped, normalised and computed in the precision that the run had; the columns are those of
its assignments.csv.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clusterlab.data.views.plain import Plain
from clusterlab.errors import UserError
from clusterlab.models.classifier import Classifier
from clusterlab.output.columns import columns
from clusterlab.output.duplicates import Twins
from clusterlab.output.model_folder import SavedModel
from clusterlab.output.prototypes import choose, distances
from clusterlab.output.safe_text import safe_text
from clusterlab.predict.decoded import Decoded, decoded_batches
from clusterlab.predict.new_images import NewImage, find_images
from clusterlab.predict.settings import ModelSettings

NEW = "new"
"""Stands in the column `split`: of neither split of the run."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """What became of some images, in their order."""

    table: pa.Table
    """A row for each that could be read; the columns of assignments.csv, without `label`."""
    images: tuple[NewImage, ...]
    """Those of the rows."""
    unreadable: tuple[tuple[str, str], ...]
    """(id, reason) of the others; the ids are in the form of `safe_text`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """The network of a run with what is known of its clusters, on one device."""

    saved: SavedModel
    settings: ModelSettings
    network: Classifier
    names: Mapping[int, str]
    """What a person calls the clusters; empty where there is no names.yaml."""
    device: torch.device
    autocast: bool
    """Whether it computes in bfloat16, as it was trained."""

    @property
    def num_clusters(self) -> int:
        """k."""
        return self.settings.num_clusters

    def predict(self, images: Any, *, batch_size: int | None = None) -> pa.Table:
        """Return a row for each of `images` that can be read, in their order; the log names the others.

        `duplicate_of` names an earlier one of the same call.

        Args:
            images: a folder, an image file, a list (.txt or .parquet) of files, paths, or a uint8 array: see
                `new_images.find_images`.
            batch_size: how many go through the network at once; null: as many as in the run.

        Raises:
            UserError: `images` is none of that, or there is nothing.
        """
        batches = list(self.batches(images, batch_size=batch_size))
        for name, reason in (some for batch in batches for some in batch.unreadable):
            log.warning("left out: %s (%s)", name, reason)
        return pa.concat_tables([batch.table for batch in batches]) if batches else self._table([], [])

    def batches(self, images: Any, *, batch_size: int | None = None) -> Iterator[Batch]:
        """Yield what `predict` returns batch by batch: no more than two are in memory, however many there are."""
        return self.label(find_images(images), batch_size=batch_size)

    def label(self, images: Iterable[NewImage], *, batch_size: int | None = None) -> Iterator[Batch]:
        """As `batches`, for images that are found already."""
        settings = self.settings
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size={batch_size} is too few: use 1 or more")
        decoded = decoded_batches(
            images,
            size=settings.image_size,
            channels=settings.channels,
            batch_size=settings.inference_batch if batch_size is None else batch_size,
        )
        twins = Twins()
        try:
            for batch in decoded:
                read = [some for some in batch if some.pixels is not None]
                bad = tuple((safe_text(some.image.id), some.reason) for some in batch if some.pixels is None)
                yield Batch(self._table(read, self._twins(read, twins)), tuple(some.image for some in read), bad)
        finally:
            twins.close()

    @torch.no_grad()
    def outputs(self, pixels: UInt8[Tensor, "b c y x"]) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b d"]]:
        """Return the clusters' probabilities and the L2-normalised embeddings of stored images, on the CPU.

        Raises:
            UserError: the GPU has no room for so many.
        """
        try:
            seen = self._view(pixels.to(self.device), torch.Generator(device=self.device))
            seen = seen.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                probs, embeddings = self.network.outputs(self.network.backbone(seen))
            return probs.cpu(), embeddings.cpu()
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{self.device} has no room for {len(pixels)} images at once: use --batch-size N"
            ) from error

    @cached_property
    def _view(self) -> Plain:
        return Plain(size=self.settings.view_size, mean=self.settings.mean, std=self.settings.std)

    def _twins(self, read: list[Decoded], twins: Twins) -> list[str]:
        return [twins.first(some.pixels, safe_text(some.image.id)) for some in read if some.pixels is not None]

    def _table(self, read: list[Decoded], duplicate_of: list[str]) -> pa.Table:
        prototypes = self.saved.prototypes
        probs, embeddings = torch.empty(0, self.num_clusters), torch.empty(0, prototypes.vectors.shape[1])
        if read:
            stacked = np.stack([some.pixels for some in read if some.pixels is not None])
            probs, embeddings = self.outputs(torch.from_numpy(stacked))
        try:
            choice = choose(probs)
        except ValueError as error:
            raise UserError(f"the model makes no probabilities of these images ({error}): is it whole?") from error
        # Rounded as the run's were.
        far = distances(embeddings.half(), choice.cluster, prototypes.vectors) if read else choice.confidence
        names = [safe_text(self.names.get(cluster, "")) for cluster in choice.cluster.tolist()]
        return columns(
            id=[safe_text(some.image.id) for some in read],
            split=[NEW] * len(read),
            cluster=choice.cluster.numpy(),
            confidence=choice.confidence.numpy(),
            margin=choice.margin.numpy(),
            distance=far.numpy(),
            outlier=(far > prototypes.fences[choice.cluster]).numpy(),
            duplicate_of=duplicate_of,
            name=names if self.names else None,
            label=None,
        )


def path_of(image: NewImage) -> Path:
    """Return the file of an image that came from one."""
    assert isinstance(image.source, Path)
    return image.source
