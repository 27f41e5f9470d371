import json
from pathlib import Path

import pytest
import torch

from clusterlab.errors import UserError
from clusterlab.output.model_folder import SavedModel, read_model, write_model
from clusterlab.output.prototypes import Prototypes


def saved(value: float = 1.0) -> SavedModel:
    # A transposed view, as channels_last weights are: not contiguous.
    network = {"backbone.conv": torch.full((2, 3), value).T, "heads.weight": torch.ones(1, 2, 3)}
    prototypes = Prototypes(torch.eye(2, 3), torch.tensor([0.5, torch.inf]))
    return SavedModel(network, prototypes, {"backbone": {"name": "small"}, "num_clusters": 2, "normalise": True})


def test_a_model_comes_back_as_it_was(tmp_path: Path):
    write_model(saved(), tmp_path / "model")
    found = read_model(tmp_path / "model")
    assert found.config == saved().config
    assert found.network.keys() == saved().network.keys()
    torch.testing.assert_close(found.network, saved().network)
    torch.testing.assert_close(found.prototypes, saved().prototypes)


def test_a_new_model_takes_the_place_of_the_old(tmp_path: Path):
    for value in (1.0, 2.0):
        write_model(saved(value), tmp_path / "model")
    assert float(read_model(tmp_path / "model").network["backbone.conv"][0, 0]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_weights_that_share_memory_are_written(tmp_path: Path):
    tied = torch.ones(2, 2)
    model = SavedModel({"a": tied, "b": tied}, saved().prototypes, {})
    write_model(model, tmp_path / "model")
    assert read_model(tmp_path / "model").network.keys() == {"a", "b"}


def test_a_missing_model_is_a_clear_error(tmp_path: Path):
    with pytest.raises(UserError, match="holds no whole model"):
        read_model(tmp_path / "nowhere")


def test_a_torn_model_is_a_clear_error(tmp_path: Path):
    write_model(saved(), tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(UserError, match="holds no whole model"):
        read_model(tmp_path / "model")


def test_another_format_is_a_clear_error(tmp_path: Path):
    write_model(saved(), tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        read_model(tmp_path / "model")
