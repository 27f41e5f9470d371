"""Reads the weights of other people's checkpoints, and finds by name and shape those that a network needs.

A checkpoint is read without running code that it may hold. Its tensors often lie in inner dictionaries and have longer
names than in the network, such as `state_dict` → `module.encoder_q.layer1.0.conv1.weight` in those of MoCo. The part of
the names that comes before the network's own is the one that fits the most of its tensors.
"""

import argparse
import hashlib
import json
import logging
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from clusterlab.artifacts import State
from clusterlab.errors import UserError

log = logging.getLogger(__name__)

PREFERRED = ("teacher", "encoder_q", "ema")
"""Of several networks in one checkpoint that fit equally well, the one whose name has one of these words."""
SHOWN = 3
"""Names that an error message lists."""


def files_of(checkpoint: Path) -> list[Path]:
    """Return the files with the weights: the path itself, or what lies in a folder as the hub keeps them.

    Raises:
        UserError: there are none.
    """
    if checkpoint.is_file():
        return [checkpoint]
    if not checkpoint.is_dir():
        raise UserError(f"features.checkpoint={checkpoint} does not exist: give a file or a folder")
    for pattern in ("model.safetensors", "model-*-of-*.safetensors", "*.safetensors", "pytorch_model.bin"):
        if found := sorted(checkpoint.glob(pattern)):
            return found
    raise UserError(
        f"features.checkpoint={checkpoint} has no model.safetensors and no pytorch_model.bin: give the file itself"
    )


def checksum(checkpoint: Path) -> str:
    """Return the sha256 of the weights' bytes."""
    return _checksum(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files_of(checkpoint)))


@cache
def _checksum(files: tuple[tuple[Path, int, int], ...]) -> str:
    sums = []
    for path, *_ in files:
        with path.open("rb") as file:
            sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    return sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()


def architecture_of(checkpoint: Path) -> str | None:
    """Return what the config.json of a folder calls its network, or None where there is none."""
    path = checkpoint / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON: {error}") from error
    name = found.get("architecture") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def read_tensors(checkpoint: Path) -> State:
    """Return every tensor of a checkpoint by its name, those of inner dictionaries with the names of these before it.

    Raises:
        UserError: it is damaged, or cannot be read without running code.
    """
    found: State = {}
    for path in files_of(checkpoint):
        found |= dict(_tensors(_read(path)))
    if not found:
        raise UserError(f"{checkpoint} holds no tensors")
    return found


def fitted(found: Mapping[str, Tensor], network: nn.Module, *, source: str, model: str) -> State:
    """Return the state of `network` with the tensors of a checkpoint.

    What the network does not have, such as the classifier or MoCo's projection, is left out.

    Raises:
        UserError: the checkpoint lacks a tensor, has one of another shape, or is that of a larger network.
    """
    own = network.state_dict()
    prefix = _prefix(found, own)
    if prefix is None:
        raise UserError(
            f"{source} does not fit features.model={model}: no tensor of the one has a name and shape of the other; "
            f"the checkpoint has {_listed(list(found))}, the network {_listed(list(own))}"
        )
    inside = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    # Counters and tables of positions, which older checkpoints lack.
    missing = [name for name, value in own.items() if name not in inside and value.is_floating_point()]
    reshaped = [
        f"{name} ({_shape(inside[name])}, not {_shape(value)})"
        for name, value in own.items()
        if name in inside and inside[name].shape != value.shape
    ]
    troubles = [f"{len(missing)} of {len(own)} tensors are missing: {_listed(missing)}"] if missing else []
    troubles += [f"{len(reshaped)} have another shape: {_listed(reshaped)}"] if reshaped else []
    if not troubles and (more := _surplus(inside, network)):
        troubles = [f"it has {len(more)} tensors more, as of a larger network: {_listed(more)}"]
    if troubles:
        below = f" (below {prefix.removesuffix('.')})" if prefix else ""
        raise UserError(f"{source}{below} does not fit features.model={model}: {'; '.join(troubles)}")
    log.info(
        "%s: %d tensors%s, %d others left out",
        source,
        len(own),
        prefix and f" below {prefix[:-1]}",
        len(found) - len(own),
    )
    return {name: inside.get(name, value).to(value.dtype).clone() for name, value in own.items()}


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Training scripts keep their arguments beside the weights: a bag of plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error: ")[-1].split("\n")[0]
        raise UserError(
            f"{path} holds more than weights and is not read, since that could run code ({reason}): if you trust where "
            "it comes from, load it yourself and write its state dict to a .safetensors file"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} is no checkpoint, or is damaged: {reason}") from error


def _tensors(found: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(found, Tensor):
        yield name, found
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _prefix(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """Return what stands before the network's names in those of the checkpoint: what fits the most of them."""
    fitting: Counter[str] = Counter()
    for name, value in found.items():
        words = name.split(".")
        for start in range(len(words)):
            inner = ".".join(words[start:])
            if inner in own and own[inner].shape == value.shape:
                fitting[name.removesuffix(inner)] += 1
    best = max(fitting.values(), default=0)
    candidates = [prefix for prefix, count in fitting.items() if count == best]
    preferred = [prefix for prefix in candidates if any(word in prefix for word in PREFERRED)]
    return next(iter(preferred + candidates), None)


def _surplus(inside: Mapping[str, Tensor], network: nn.Module) -> list[str]:
    """Return tensors of layers that the network lacks in groups of layers that it has."""
    modules = {name for name, _ in network.named_modules()}
    groups = {name.partition(".")[0] for name in network.state_dict()}
    return [
        name for name in inside if name.partition(".")[0] in groups and name.rpartition(".")[0] not in modules
    ]  # fmt: skip


def _shape(value: Tensor) -> str:
    return "×".join(str(size) for size in value.shape) or "a number"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
