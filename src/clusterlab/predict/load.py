"""From the folder of a run, or a copy of its `model/` alone, to a model on a device."""

import json
from pathlib import Path

import torch
from pydantic import ValidationError

from clusterlab.config import backbone_of
from clusterlab.errors import UserError
from clusterlab.models.build import NetworkSpec
from clusterlab.models.classifier import Classifier, with_state
from clusterlab.output.model_folder import CONFIG, SavedModel, read_model
from clusterlab.output.names import read_names
from clusterlab.predict import AUTO
from clusterlab.predict.model import Model
from clusterlab.predict.settings import ModelSettings
from clusterlab.trainer import computes_in_bf16

MODEL = "model"
"""The folder of the model in that of its run."""


def load(run_dir: str | Path, *, device: str = AUTO) -> Model:
    """Return the model of a run.

    Args:
        run_dir: the folder of the run, or its folder `model` wherever that was copied to. Names of clusters are read
            from a names.yaml in it, or beside a folder called `model`.
        device: `cpu`, `cuda`, `cuda:1` or so; `auto`: a GPU where there is one.

    It computes in the precision that it was trained in; in float32 where that was bfloat16 and the device has none.

    Raises:
        UserError: there is no whole model, or no such device.
    """
    place = Path(run_dir).expanduser()
    folder = place if (place / CONFIG).is_file() or not (place / MODEL).is_dir() else place / MODEL
    if not (folder / CONFIG).is_file():
        raise UserError(f"{place} holds no model: give the folder of a finished run, or the folder model/ in it")
    saved = read_model(folder)
    settings = _settings(saved, folder)
    found = _device(device)
    network = _network(saved, settings, folder).to(found, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    beside = folder.parent if folder.name == MODEL and not (folder / "names.yaml").exists() else folder
    return Model(
        saved=saved,
        settings=settings,
        network=network,
        names=read_names(beside, result=settings.result, num_clusters=settings.num_clusters),
        device=found,
        autocast=settings.precision == "bf16-mixed" and computes_in_bf16("gpu" if found.type == "cuda" else "cpu"),
    )


def _settings(saved: SavedModel, folder: Path) -> ModelSettings:
    try:
        return ModelSettings.model_validate_json(json.dumps(dict(saved.config)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise _damaged(folder, f"{CONFIG}: {where}: {first['msg']}") from error


def _network(saved: SavedModel, settings: ModelSettings, folder: Path) -> Classifier:
    plan = backbone_of(settings.backbone, "backbone")
    try:
        with torch.random.fork_rng(devices=[]):  # whoever asks for a model draws on as if there were none
            network = with_state(
                saved.network,
                backbone=NetworkSpec(plan.part, plan.settings, settings.channels).build(),
                clusters=settings.num_clusters,
                hidden=settings.hidden,
                normalise=settings.normalise,
            )
    except (RuntimeError, IndexError) as error:
        raise _damaged(folder, " ".join(str(error).split())[:200]) from error
    vectors, fences = saved.prototypes
    if vectors.shape != (settings.num_clusters, network.embedding_dim) or fences.shape != (settings.num_clusters,):
        raise _damaged(folder, "its prototypes are of another network")
    return network


def _damaged(folder: Path, reason: str) -> UserError:
    return UserError(f"{folder} holds no whole model ({reason}): run clusterlab again to write it")


def _device(wanted: str) -> torch.device:
    if wanted == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UserError(f"device={wanted} is not known: use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={wanted} is not one that models run on here: use auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device={wanted}, but torch sees {torch.cuda.device_count()} GPUs: use cpu, see `nvidia-smi`")
    return device
