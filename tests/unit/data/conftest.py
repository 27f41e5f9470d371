"""Loads a source with the values of its shipped config, some of them changed."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from clusterlab.data.images import ImageSet
from clusterlab.data.sources.base import Source, SourceSettings
from clusterlab.registry import find

CONF = Path(__file__).parents[3] / "conf"


@cache
def shipped(name: str) -> dict[str, Any]:
    """`data=NAME` as the command line composes it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("config", overrides=[f"data={name}"]).data)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@pytest.fixture
def settings_of() -> Callable[..., SourceSettings]:
    def settings(name: str, **changes: Any) -> SourceSettings:
        return find("data", name, Source).Settings.model_validate_json(json.dumps(shipped(name) | changes))

    return settings


@pytest.fixture
def load(tmp_path: Path, settings_of: Callable[..., SourceSettings]) -> Callable[..., ImageSet]:
    """Load source `name`; `root` may be a path; everything is stored below `tmp_path`/stages."""

    def load(name: str, **changes: Any) -> ImageSet:
        if "root" in changes:
            changes["root"] = str(changes["root"])
        return find("data", name, Source)(settings_of(name, **changes)).load(tmp_path / "stages")

    return load


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write an image whose pixels depend on its path; its suffix decides the format."""

    def write(path: Path, size: tuple[int, int] = (8, 8)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(str(path).encode()))
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Six images in two class folders of each split."""
    root = tmp_path / "photos"
    for name in (
        *("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "train/dog/2.png"),
        *("test/cat/3.png", "test/dog/3.png"),
    ):
        write_image(root / name)
    return root
