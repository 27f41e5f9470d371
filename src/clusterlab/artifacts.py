"""What a stage leaves on disk: plain tensors addressed by the sample index, and how they are kept.

A finished artifact is a folder `<kind>-<part>-<key>` with

    tensors.safetensors   every tensor, by name
    artifact.json         type, plain values, the key's ingredients, seconds
    history.csv           the scalars of its training, where it was trained
    SHA256SUMS            the checksum of each of them

It is written under a temporary name, synced and renamed: what has its final name is whole.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clusterlab.checksums import check, seal
from clusterlab.durable import remove, sync, sync_folder

State = dict[str, Tensor]
"""A module's state dict."""

FORMAT = 4
"""Raise when the layout of an artifact's folder changes: it is part of every key."""


ABOUT, TENSORS = "artifact.json", "tensors.safetensors"


class DamagedArtifactError(Exception):
    """A folder with a finished artifact's name whose content is not what was written."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """A trained feature model: the state of its backbone and of its projection head."""

    backbone: State
    projection: State


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What the feature model makes of every image, un-augmented: float32, or float16 where there is very much of it."""

    values: Float[Tensor, "n d"]
    """L2-normalised."""
    features: Float[Tensor, "n d"] | None = None
    """Un-normalised, where they are the backbone's: what heads on a frozen backbone are trained on."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest neighbours by cosine, nearest first, never the sample itself.

    Row i of `train` belongs to sample `train_index[i]` of the image set and holds sample indices of the train pool;
    `eval` likewise.
    """

    train: Int[Tensor, "n_train m"]
    eval: Int[Tensor, "n_eval m_eval"]
    recall: float | None = None
    """Share of the exact neighbours that an approximate search found, on a sample of images; None: all are exact."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """What k-means makes of the same images: the rows that every report shows beside the method."""

    features: Int[Tensor, " n"]
    """Clusters from the stage's embeddings."""
    pixels: Int[Tensor, " n"]
    """Clusters from raw pixels."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Two coordinates per image, for the map in the report; rows of images that were not drawn are NaN."""

    points: Float[Tensor, "n 2"]


@dataclass(frozen=True, eq=False)
class Assignments:
    """Clusters of every image, and the network that gives them."""

    probs: Float[Tensor, "n k"]
    """Softmax over clusters of the un-augmented image, rows sum to 1."""
    embeddings: Float[Tensor, "n d"]
    """L2-normalised backbone features of the same network, float16."""
    network: State
    """State of `models.classifier.Classifier` with one head."""
    hidden: int | None
    """Size of the head's hidden layer; None for a linear head."""
    normalise: bool
    """Whether the head reads L2-normalised features."""


@dataclass(frozen=True, eq=False)
class Instances:
    """A classifier of m instance classes, one per image that was once drawn, and what it makes of every image."""

    network: State
    """State of a `models.classifier.Classifier` with m outputs."""
    predicted: Int[Tensor, " n"]
    """Instance class of the un-augmented image."""
    confidence: Float[Tensor, " n"]
    """Its probability."""
    embeddings: Float[Tensor, "n d"]
    """L2-normalised backbone features of the same network, float16."""
    transitions: Int[Tensor, "m m"]
    """How often an image was in class i at one visit and in class j ≠ i at the next."""
    drawn: Int[Tensor, " m"]
    """Sample indices of the set that was drawn last."""
    drawn_classes: Int[Tensor, " m"]
    """The instance class that each of them was trained on."""


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Clusters that a network may be trained on as if they were labels, where they are reliable enough for it."""

    labels: Int[Tensor, " n"]
    """Cluster per sample index, −1 where there is none."""
    num_clusters: int
    """Clusters that a network trained on them has to tell apart."""


NEARLY = 0.02
"""Two silhouettes that differ by less do not say which number of clusters is better."""


@dataclass(frozen=True, eq=False)
class ClusterCount:
    """How many clusters there may be, and what speaks for it."""

    tried: Int[Tensor, " t"]
    silhouette: Float[Tensor, " t"]
    """Of the clustering into so many clusters."""
    stability: Float[Tensor, " t"]
    """Adjusted Rand index between clusterings that were found on halves of the images."""
    chosen: int

    def nearly_as_good(self) -> list[int]:
        """Return the other numbers whose silhouette is within `NEARLY` of the best."""
        near = self.tried[self.silhouette > self.silhouette.max() - NEARLY]
        return [number for number in near.tolist() if number != self.chosen]


Artifact = (
    Encoder | Embeddings | Neighbours | Baseline | Projection | Assignments | Instances | PseudoLabels | ClusterCount
)


def tensors_of(artifact: Artifact) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor by the name that it has on disk."""
    for spec in dataclasses.fields(artifact):
        value = getattr(artifact, spec.name)
        if isinstance(value, Tensor):
            yield spec.name, value
        elif isinstance(value, dict):
            yield from ((f"{spec.name}/{name}", tensor) for name, tensor in value.items())


def of_networks(artifact: Artifact) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in which every number has to be one: those of networks and of what they make of images."""
    if isinstance(artifact, Encoder | Embeddings | Assignments | Instances):
        yield from tensors_of(artifact)


def key_of(ingredients: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for everything the artifact depends on."""
    text = json.dumps({"format": FORMAT, **ingredients}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def save(artifact: Artifact, folder: Path, *, about: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Write `artifact` as `folder`, whole or not at all; `files` (name → path) are moved in beside it."""
    places: set[int] = set()
    tensors: State = {name: _own(tensor, places) for name, tensor in tensors_of(artifact)}
    fields = {spec.name: getattr(artifact, spec.name) for spec in dataclasses.fields(artifact)}
    values = {
        name: "state" if isinstance(value, dict) else value
        for name, value in fields.items()
        if not isinstance(value, Tensor)
    }
    temporary = folder.with_name(f"{folder.name}.tmp")
    remove(temporary)
    temporary.mkdir(parents=True)
    try:
        save_file(tensors, temporary / TENSORS)
        for name, path in files.items():
            shutil.copyfile(path, temporary / name)
        meta = {"type": type(artifact).__name__, "values": values, **about}
        text = json.dumps(meta, indent=1, sort_keys=True, allow_nan=False)
        (temporary / ABOUT).write_text(text, encoding="utf-8")
        seal(temporary)
        sync_folder(temporary)
        temporary.rename(folder)
    except BaseException:
        remove(temporary)  # what is left of it may be what fills the disk
        raise
    sync(folder.parent)


def load(folder: Path) -> tuple[Artifact, dict[str, Any]]:
    """Return the artifact in `folder` and its description.

    Raises:
        DamagedArtifactError: a file is missing or differs from what was written.
    """
    try:
        check(folder, ABOUT, TENSORS)
        meta = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        tensors = load_file(folder / TENSORS)
        kind = {cls.__name__: cls for cls in Artifact.__args__}[meta["type"]]
        fields: dict[str, Any] = {name: value for name, value in meta["values"].items() if value != "state"}
        for name in (name for name, value in meta["values"].items() if value == "state"):
            prefix = f"{name}/"
            fields[name] = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        fields |= {name: value for name, value in tensors.items() if "/" not in name}
        return kind(**fields), meta
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DamagedArtifactError(str(error)) from error


def _own(tensor: Tensor, places: set[int]) -> Tensor:
    """Return the values in memory of their own: safetensors refuses tensors that share some.

    Only then, or where they do not lie in a row, are they copied: embeddings may be larger than the memory. `places`
    holds where in memory the tensors before it lie.
    """
    tensor = tensor.detach().cpu()
    storage = tensor.untyped_storage()
    alone = storage.data_ptr() not in places and storage.nbytes() == tensor.nbytes and tensor.is_contiguous()
    owned = tensor if alone else tensor.clone(memory_format=torch.contiguous_format)
    places.add(owned.untyped_storage().data_ptr())
    return owned
