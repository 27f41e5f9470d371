"""Pretrained networks by name: architectures of timm and torchvision, and where their weights are published.

A name is LIBRARY/NAME, as in `timm/vit_small_patch14_dinov2.lvd142m` or `torchvision/resnet50`, where what follows the
last point chooses the weights; or one of the short names in `known_models.yaml`. timm is imported when one of its
networks is wanted.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import torchvision
import yaml
from torch import nn

from clusterlab.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Model:
    """A network of a library; `name` may end in a point and the tag of its weights."""

    typed: str
    """What the user calls it."""
    library: Literal["timm", "torchvision"]
    name: str
    url: str | None
    """Weights that the library does not know."""

    def __str__(self) -> str:
        return self.typed


class Published(NamedTuple):
    """Weights that can be fetched: what they are called, where they are, and in which repository of the hub, if any."""

    name: str
    url: str
    repository: str | None = None


class Expected(NamedTuple):
    """What a network was trained with: the side of its images, in pixels, and their normalisation."""

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def find_model(typed: str | None) -> Model:
    """Return the network that `features.model` names.

    Raises:
        UserError: there is none of that name, or timm is needed and not installed.
    """
    known = known_models()
    if typed is None:
        raise UserError(
            f"no network is named: add features.model=NAME, one of {', '.join(known)}, or timm/NAME or "
            "torchvision/NAME; with features that are trained here, backbone.model=NAME"
        )
    entry = known.get(typed, {"model": typed})
    library, _, name = entry["model"].partition("/")
    if library not in ("timm", "torchvision") or not name:
        every = [*known, *(f"torchvision/{name}" for name in torchvision_names())]
        raise UserError(
            f"features.model={typed} is not known{_close(typed, every)}; choices: {', '.join(known)}, timm/NAME, "
            "torchvision/NAME"
        )
    model = Model(typed, "timm" if library == "timm" else "torchvision", name, entry.get("url"))
    _check_name(model, typed)
    return model


def expected(model: Model) -> Expected:
    """Return what the network was trained with; of one that nobody trained, what is usual."""
    if model.library == "timm":
        described = timm().get_pretrained_cfg(model.name)
        if described is None:
            return Expected(224, IMAGENET_MEAN, IMAGENET_STD)
        return Expected(described.input_size[-1], tuple(described.mean), tuple(described.std))
    preset = _torchvision_weights(model).transforms()
    return Expected(preset.crop_size[0], tuple(preset.mean), tuple(preset.std))


def published(model: Model) -> Published | None:
    """Return where the weights of `model` can be fetched, or None where nobody published some."""
    if model.url is not None:
        return Published(model.url, model.url)
    if model.library == "torchvision":
        weights = _torchvision_weights(model)
        return Published(str(weights), weights.url)
    described = timm().get_pretrained_cfg(model.name)
    if described is None or not (described.hf_hub_id or described.url):
        return None
    name = f"{described.architecture}.{described.tag}"
    if not described.hf_hub_id:
        return Published(name, described.url)
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(described.hf_hub_id, described.hf_hub_filename or "model.safetensors")
    return Published(name, url, described.hf_hub_id)


def build(model: Model, *, side: int | None, **more: Any) -> tuple[nn.Module, int]:
    """Return the network without its classifier, and how many features it has.

    Args:
        model: of which library.
        side: of the images in pixels, for networks that have to be built for it; null: that of their training.
        more: for timm.
    """
    if model.library == "torchvision":
        return _headless(torchvision.models.get_model(_bare(model.name), weights=None))
    described = timm().get_pretrained_cfg(model.name)
    network = None
    if described is not None and described.fixed_input_size:
        # Position embeddings that are stretched to the images, where the architecture offers it.
        sizes: list[dict[str, Any]] = [{"dynamic_img_size": True}, {"img_size": side}]
        network = next((made for size in sizes if (made := _try_timm(model, size | more)) is not None), None)
    network = network or timm().create_model(model.name, num_classes=0, **more)
    size: Any = network.head_hidden_size
    return network, int(size)


def timm() -> Any:
    """Return the library.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UserError(
            "networks of timm need the library timm, which is not installed: pip install 'clusterlab[pretrained]'"
        ) from error


@cache
def known_models() -> Mapping[str, Mapping[str, str]]:
    """Return the short names, with what they stand for."""
    text = (files("clusterlab.models") / "known_models.yaml").read_text(encoding="utf-8")
    known: Mapping[str, Mapping[str, str]] = yaml.safe_load(text)
    return known


def torchvision_names() -> list[str]:
    """Return torchvision's networks for whole images."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    # They return more than features, or have no linear layer that could be taken away.
    others = ("googlenet", "inception_v3", "squeezenet1_0", "squeezenet1_1")
    return [name for name in names if name not in others]


def _check_name(model: Model, typed: str) -> None:
    bare, tag = _bare(model.name), model.name.partition(".")[2]
    if model.library == "torchvision":
        known, tags = torchvision_names(), []
        if bare in known:
            tags = [weights.name for weights in torchvision.models.get_model_weights(bare)]
    else:
        known = timm().list_models()
        tags = [name.partition(".")[2] for name in timm().list_pretrained(f"{bare}.*")]
    if bare not in known:
        raise UserError(
            f"features.model={typed} is not known: {model.library} has no network {bare}{_close(bare, known)}; "
            f"short names: {', '.join(known_models())}"
        )
    if tag and tag not in tags:
        raise UserError(
            f"features.model={typed}: {model.library} has no weights {tag} of {bare}; only {', '.join(tags) or 'none'}"
        )


def _torchvision_weights(model: Model) -> Any:
    choices = torchvision.models.get_model_weights(_bare(model.name))
    tag = model.name.partition(".")[2]
    return choices[tag] if tag else choices.DEFAULT


def _headless(network: nn.Module) -> tuple[nn.Module, int]:
    """Take away the last linear layer, which is torchvision's classifier."""
    name, last = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear)][-1]
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return network, last.in_features


def _try_timm(model: Model, options: Mapping[str, Any]) -> nn.Module | None:
    """Return the network, or None if its architecture does not know one of the options."""
    try:
        made: nn.Module = timm().create_model(model.name, num_classes=0, **options)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            return None
        raise
    return made


def _bare(name: str) -> str:
    return name.partition(".")[0]


def _close(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
