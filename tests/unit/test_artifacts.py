import json
from pathlib import Path

import torch

from clusterlab.artifacts import (
    Assignments,
    Embeddings,
    Encoder,
    Neighbours,
    key_of,
    load,
    save,
)


def assignments():
    torch.manual_seed(0)
    return Assignments(
        probs=torch.rand(4, 3).softmax(1),
        embeddings=torch.rand(4, 2).half(),
        network={"heads.weight": torch.rand(1, 2, 3), "backbone.count": torch.tensor(7)},
        hidden=None,
        normalise=True,
    )


def test_what_is_loaded_is_what_was_saved(tmp_path):
    saved = assignments()
    save(saved, tmp_path / "a", about={"seconds": 1.5}, files={})
    loaded, about = load(tmp_path / "a")
    assert isinstance(loaded, Assignments)
    assert torch.equal(loaded.probs, saved.probs)
    assert torch.equal(loaded.embeddings, saved.embeddings)
    assert loaded.normalise is True
    assert loaded.network.keys() == saved.network.keys()
    assert all(torch.equal(loaded.network[name], value) for name, value in saved.network.items())
    assert about["seconds"] == 1.5


def test_tensors_that_share_memory_are_saved(tmp_path):
    shared = torch.rand(3)
    save(Encoder(backbone={"a": shared, "b": shared}, projection={}), tmp_path / "a", about={}, files={})
    loaded, _ = load(tmp_path / "a")
    assert isinstance(loaded, Encoder)
    assert torch.equal(loaded.backbone["b"], shared)


def test_files_are_kept_beside_the_tensors(tmp_path):
    (tmp_path / "history.csv").write_text("stage\n")
    save(assignments(), tmp_path / "a", about={}, files={"history.csv": tmp_path / "history.csv"})
    assert (tmp_path / "a" / "history.csv").read_text() == "stage\n"


def test_what_was_half_written_has_another_name_and_is_cleared(tmp_path):
    leftover = tmp_path / "a.tmp"
    leftover.mkdir()
    (leftover / "tensors.safetensors").write_bytes(b"half")
    save(assignments(), tmp_path / "a", about={}, files={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_key_depends_on_every_value_and_not_on_their_order():
    assert key_of({"a": 1, "b": [2.5]}) == key_of({"b": [2.5], "a": 1})
    assert len({key_of({"a": a, "b": b}) for a in (1, 2, None) for b in ("1", 1, 1.5)}) == 9
    assert len(key_of({})) == 12


def test_the_description_is_plain_json(tmp_path):
    neighbours = Neighbours(train=torch.tensor([[1], [0]]), eval=torch.tensor([[1], [0]]))
    save(neighbours, tmp_path / "a", about={"key": "x"}, files={})
    about = json.loads((tmp_path / "a" / "artifact.json").read_text())
    assert (about["type"], about["key"]) == ("Neighbours", "x")


def test_parts_of_larger_tensors_and_turned_ones_are_saved_as_they_are(tmp_path):
    large = torch.rand(6, 4)
    saved = Embeddings(values=large[1:5], features=large[:4].T)
    save(saved, tmp_path / "a", about={}, files={})
    loaded, _ = load(tmp_path / "a")
    assert isinstance(loaded, Embeddings)
    assert torch.equal(loaded.values, saved.values)
    assert torch.equal(loaded.features, saved.features)


def test_embeddings_are_neither_copied_when_saved_nor_read_whole_when_loaded(tmp_path):
    count, size = 2**14, 2**11
    values = torch.from_file(str(tmp_path / "values"), shared=True, size=count * size, dtype=torch.float16)
    values.view(count, size)[7] = torch.arange(size).half()
    before = anonymous_memory()
    save(Embeddings(values=values.view(count, size)), tmp_path / "a", about={}, files={})
    loaded, _ = load(tmp_path / "a")
    assert isinstance(loaded, Embeddings)
    assert loaded.features is None
    assert torch.equal(loaded.values[7], torch.arange(size).half())
    assert anonymous_memory() - before < values.nbytes / 4


def anonymous_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])
