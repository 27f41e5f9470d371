"""The files that a model can be served from: a programme of torch.export, and ONNX. The number of images is free."""

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from clusterlab.errors import UserError
from clusterlab.export.network import INPUT, OUTPUTS, Served

OPSET = 18
"""Of ONNX: the first whose resizing has the antialiasing that some pretrained networks ask for."""
LARGEST_ONNX = 1_900_000_000
"""Bytes of weights that fit into the file itself, which cannot be larger than 2 GiB; more go beside it."""

Outputs = tuple[Tensor, Tensor]
Programme = Callable[[Tensor], Outputs]


@dataclass(frozen=True)
class Format:
    """How to write a file, and how to run what lies in it on the CPU."""

    file: str
    write: Callable[[Served, UInt8[Tensor, "b c y x"], Path], None]
    """For a network, images such as it takes, and the file."""
    read: Callable[[Path], Programme]


def _write_torch(served: Served, example: Tensor, path: Path) -> None:
    torch.export.save(_programme(served, example), path)


def _read_torch(path: Path) -> Programme:
    programme = torch.export.load(path).module()

    def run(images: Tensor) -> Outputs:
        probs, embeddings = programme(images)
        return probs, embeddings

    return run


def _write_onnx(served: Served, example: Tensor, path: Path) -> None:
    for library in ("onnx", "onnxscript", "onnxruntime"):
        _imported(library)
    weights = sum(value.numel() * value.element_size() for value in served.state_dict().values())
    torch.onnx.export(
        _programme(served, example),
        f=path,
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        opset_version=OPSET,
        external_data=weights > LARGEST_ONNX,
        dynamo=True,
        verbose=False,
    )


def _read_onnx(path: Path) -> Programme:
    session = _imported("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Outputs:
        probs, embeddings = session.run(list(OUTPUTS), {INPUT: images.numpy()})
        return torch.from_numpy(probs), torch.from_numpy(embeddings)

    return run


FORMATS = {
    "torch": Format("model.pt2", _write_torch, _read_torch),
    "onnx": Format("model.onnx", _write_onnx, _read_onnx),
}


@contextmanager
def said_in_one_line(name: str) -> Iterator[None]:
    """Turn what writing and running a format raises, which can be anything, into a line.

    The warnings of the libraries are about themselves.

    Raises:
        UserError: instead of any other exception.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"this network cannot be written and run as --format {name} ({reason}): use another format"
        ) from error


def _programme(served: Served, example: Tensor) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(served, (example,), dynamic_shapes=({0: torch.export.Dim("n")},))


def _imported(library: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UserError(
            f"--format onnx needs the library {library}, which is not installed: pip install 'clusterlab[onnx]'"
        ) from error
