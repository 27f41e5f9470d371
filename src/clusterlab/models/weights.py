"""The weights of a pretrained network: from a file of the user's, or fetched from where its library has them."""

import importlib
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import nn

from clusterlab.artifacts import State
from clusterlab.errors import UserError
from clusterlab.models.checkpoints import architecture_of, checksum, fitted, read_tensors
from clusterlab.models.libraries import Model, Published, build, published

TIMEOUT = 10
"""Seconds that a server may take to answer before a download is not tried at all."""


def weights_name(model: Model, checkpoint: str | None) -> str:
    """Return what stands for the weights in a key: the sum of a file's bytes, or the name of published weights."""
    if checkpoint is not None:
        return checksum(Path(checkpoint))
    found = published(model)
    return "none" if found is None else found.name


def load_weights(model: Model, network: nn.Module, checkpoint: str | None, *, side: int | None) -> State:
    """Return the state of `network`, which is `model`, with its weights from a file or folder, or fetched.

    Raises:
        UserError: they do not fit, or are not there.
    """
    if checkpoint is not None:
        path = Path(checkpoint)
        named = architecture_of(path)
        if model.library == "timm" and named not in (None, model.name.partition(".")[0]):
            raise UserError(f"{path / 'config.json'} says {named}: use features.model=timm/{named}")
        return fitted(read_tensors(path), network, source=str(path), model=str(model))
    found = published(model)
    if found is None:
        raise UserError(f"features.model={model} has no published weights: add features.checkpoint=FILE")
    if model.library == "timm" and found.repository is not None:
        return _from_hub(model, found, side=side)
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(found.url).path).name
    if not target.is_file():
        see_reachable(model, found.url)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(found.url, str(target))
        except OSError as error:
            raise not_fetched(model, found.url, error) from error
    return fitted(read_tensors(target), network, source=str(target), model=str(model))


def see_reachable(model: Model, url: str) -> None:
    """Ask for the head of `url` first: the libraries would try for minutes.

    Raises:
        UserError: the server does not answer.
    """
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise not_fetched(model, url, error) from error


def not_fetched(model: Model, url: str, error: Exception) -> UserError:
    """Return the error that says which file to put where."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    file = Path(urlparse(url).path).name
    return UserError(
        f"the weights of features.model={model} are not here and cannot be fetched ({reason}): fetch {url} where there "
        f"is a network, copy the file to this machine and add features.checkpoint=PATH/{file}"
    )


def _from_hub(model: Model, found: Published, *, side: int | None) -> State:
    """Return the state from the hub's cache, or fetch it; timm translates what has other names there."""
    hub = importlib.import_module("huggingface_hub")
    cached = hub.try_to_load_from_cache(found.repository, Path(urlparse(found.url).path).name)
    kept = {"file": cached} if isinstance(cached, str) else {}
    if not kept:
        see_reachable(model, found.url)
    try:
        network, _ = build(model, side=side, pretrained=True, pretrained_cfg_overlay=kept)
    except (OSError, RuntimeError) as error:
        raise not_fetched(model, found.url, error) from error
    return network.state_dict()
