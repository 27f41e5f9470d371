"""The folder of an exported model: its formats, each compared with the model, and what to know to serve them."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from jaxtyping import UInt8
from safetensors import SafetensorError
from torch import Tensor

from clusterlab.durable import sync, sync_folder, write_text
from clusterlab.errors import UserError
from clusterlab.export import ALWAYS
from clusterlab.export.check import TOLERANCE, check_images, largest_difference, see_equal
from clusterlab.export.formats import FORMATS, Programme, said_in_one_line
from clusterlab.export.network import INPUT, OUTPUTS, Served
from clusterlab.output import names
from clusterlab.output.model_folder import WEIGHTS, write_model
from clusterlab.output.versions import versions
from clusterlab.predict.decoded import decoded_batches
from clusterlab.predict.load import load
from clusterlab.predict.model import Model
from clusterlab.predict.new_images import find_images

SERVING = "serving.json"
REAL = 64
"""Images of --images that are compared."""


def export(run_dir: Path, output: Path, *, formats: Sequence[str], images: Path | None) -> None:
    """Write the folder `output`, whole or not at all, and say how far its outputs are from the model's.

    Args:
        run_dir: a finished run, or a folder with its model.
        output: a folder that is not there yet, or an empty one.
        formats: beside the weights, which are always written.
        images: real ones to compare the outputs on; null: only made ones.

    Raises:
        UserError: something that a person can put right, or a programme that does not say what the model says.
    """
    folder = Path(os.path.abspath(output))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output={output} is there already: give a folder that is not, or an empty one")
    model = replace(load(run_dir, device="cpu"), autocast=False)
    batches = [check_images(model), *_real(model, images)]
    temporary = folder.with_name(f".{folder.name}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_model(model.saved, temporary)
        differences = _write(model, temporary, sorted({ALWAYS, *formats}), batches)
        compared = sum(map(len, batches))
        text = json.dumps(_serving(model, differences, compared), indent=2, ensure_ascii=False)
        write_text(temporary / SERVING, f"{text}\n")
        sync_folder(temporary)
        os.replace(temporary, folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write {output} ({reason}): choose another --output DIR") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for name, difference in differences.items():
        print(f"{name}: largest difference from the model {difference:.2g} on {compared} images")
    print(f"written to {output}")


def _write(model: Model, folder: Path, formats: Sequence[str], batches: list[Tensor]) -> dict[str, float]:
    """Write each format and the names; return the largest difference of each."""
    if model.names:
        text = yaml.safe_dump({"result": model.settings.result, "names": dict(model.names)}, allow_unicode=True)
        write_text(folder / names.FILE, text)
    # One image alone, too: the number of images must not have become a constant.
    batches = [*batches, batches[0][:1]]
    differences = {}
    served = Served(model)
    for name in formats:
        with said_in_one_line(name):
            differences[name] = largest_difference(_programme(name, folder, served, batches[0]), model, batches)
        see_equal(name, differences[name])
    return differences


def _programme(name: str, folder: Path, served: Served, example: Tensor) -> Programme:
    """Write the format and return what lies in its file."""
    if name == ALWAYS:
        return replace(load(folder, device="cpu"), autocast=False).outputs
    path = folder / FORMATS[name].file
    FORMATS[name].write(served, example, path)
    return FORMATS[name].read(path)


def _real(model: Model, images: Path | None) -> list[UInt8[Tensor, "b c y x"]]:
    """Return the first of `images` that can be read, as one batch."""
    if images is None:
        return []
    settings = model.settings
    found = decoded_batches(find_images(images), size=settings.image_size, channels=settings.channels, batch_size=REAL)
    first = [torch.from_numpy(some.pixels) for batch in islice(found, 1) for some in batch if some.pixels is not None]
    if not first:
        raise UserError(f"--images={images}: none of the first {REAL} images can be read")
    return [torch.stack(first)]


def _serving(model: Model, differences: dict[str, float], compared: int) -> dict[str, Any]:
    """Return what somebody needs to know who serves the model."""
    settings = model.settings
    probs, embeddings = OUTPUTS
    return {
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "shape": ["n", settings.channels, settings.image_size, settings.image_size],
            "channels": "RGB" if settings.channels == 3 else "grey",
            "preparation": "upright as EXIF says, transparency over white, short side resized to the size of the shape "
            "(bilinear, antialiased), centre cut out; values 0 to 255, nothing is normalised",
        },
        "outputs": {
            probs: {"dtype": "float32", "shape": ["n", settings.num_clusters], "cluster": "the largest"},
            embeddings: {"dtype": "float32", "shape": ["n", model.saved.prototypes.vectors.shape[1]], "norm": 1},
        },
        "distance": f"1 - embedding · prototypes[cluster]; an outlier if more than fences[cluster], both in {WEIGHTS}",
        "names": {str(cluster): name for cluster, name in sorted(model.names.items())},
        "files": {ALWAYS: WEIGHTS} | {name: FORMATS[name].file for name in differences if name in FORMATS},
        "checked": {"images": compared, "tolerance": TOLERANCE, "largest_difference": differences},
        "versions": versions(),
    }
