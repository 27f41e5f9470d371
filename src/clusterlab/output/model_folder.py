"""The folder `model/`: everything that labels new images, loadable without running code.

`model.safetensors` holds the network's state (`network/…`), the clusters' `prototypes` and `fences`;
`config.json` says how to build the network and the view that its images are seen through; `SHA256SUMS` has the
checksums of both.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clusterlab.artifacts import State
from clusterlab.checksums import check, seal
from clusterlab.durable import remove, sync, sync_folder
from clusterlab.errors import UserError
from clusterlab.output.prototypes import Prototypes

FORMAT = 2
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_STATE = "network/"


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A trained clustering: `config` is plain JSON data and holds `num_clusters` and `normalise`, too."""

    network: State
    prototypes: Prototypes
    config: Mapping[str, Any]


def write_model(model: SavedModel, folder: Path) -> None:
    """Write `folder`, in the place of an earlier one."""
    temporary, former = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("tmp", "old"))
    for left in (temporary, former):  # by a run that was killed
        remove(left)
    temporary.mkdir()
    network = {f"{_STATE}{name}": value.cpu().clone().contiguous() for name, value in model.network.items()}
    fitted = {"prototypes": model.prototypes.vectors, "fences": model.prototypes.fences}
    text = json.dumps({"format": FORMAT, **model.config}, indent=2, allow_nan=False)
    try:
        save_file(network | fitted, temporary / WEIGHTS)
        (temporary / CONFIG).write_bytes(f"{text}\n".encode())
        seal(temporary)
        sync_folder(temporary)
        if folder.is_symlink():
            remove(folder)
        elif folder.exists():
            folder.rename(former)
        temporary.rename(folder)
        sync(folder.parent)
        remove(former)
    except BaseException:
        remove(temporary)  # what is left of it may be what fills the disk
        raise


def read_model(folder: Path) -> SavedModel:
    """Return what `write_model` left.

    Raises:
        UserError: there is no whole model there, or one of another format.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = config.pop("format")
        if found != FORMAT:
            raise UserError(f"{folder} has format {found}, this clusterlab reads format {FORMAT}: write it anew")
        check(folder, CONFIG, WEIGHTS)
        tensors = load_file(folder / WEIGHTS)
        prototypes = Prototypes(tensors.pop("prototypes"), tensors.pop("fences"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder} holds no whole model ({reason}): run clusterlab again to write it") from error
    return SavedModel({name.removeprefix(_STATE): value for name, value in tensors.items()}, prototypes, config)
