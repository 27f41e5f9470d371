import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from small_model import LIBRARY, write_small_model

import clusterlab
from clusterlab.data.decode import decode_file
from clusterlab.errors import UserError
from clusterlab.models.classifier import Classifier
from clusterlab.predict import decoded

COLUMNS = ["id", "split", "cluster", "confidence", "margin", "distance", "outlier", "duplicate_of"]


@torch.no_grad()
def test_the_row_of_an_image_says_what_the_network_says(run_dir, photos):
    model = clusterlab.load(run_dir, device="cpu")
    row = model.predict(photos / "a" / "2.png").to_pylist()
    stored = torch.from_numpy(decode_file(photos / "a" / "2.png", 16))[None]
    # The middle 12 of 16 pixels, normalised by hand.
    features = model.network.backbone((stored[:, :, 2:14, 2:14] / 255 - 0.4) / 0.3)
    probs = model.network.classify(features)[0, 0].softmax(0)
    first, second = probs.topk(2).values.tolist()
    prototype = model.saved.prototypes.vectors[probs.argmax()]
    distance = 1 - float(torch.nn.functional.cosine_similarity(features[0], prototype, dim=0))
    assert [list(found) for found in row] == [COLUMNS]
    assert row[0]["id"] == "2.png"
    assert row[0]["cluster"] == int(probs.argmax())
    assert row[0]["confidence"] == pytest.approx(first, abs=1e-5)
    assert row[0]["margin"] == pytest.approx(first - second, abs=1e-5)
    assert row[0]["distance"] == pytest.approx(distance, abs=1e-3)  # embeddings are rounded to float16
    assert row[0]["outlier"] == (distance > 0.9)


def test_a_folder_gives_a_row_per_image_in_the_order_of_the_paths(run_dir, photos):
    table = clusterlab.load(run_dir).predict(photos).to_pandas()
    ids = [f"{folder}/{number}.png" for folder in "ab" for number in range("ab".index(folder), 10, 2)]
    assert table["id"].tolist() == [*ids, "same.bmp"]
    assert set(table["split"]) == {"new"}
    assert len(set(table["cluster"])) > 1
    assert table["outlier"].nunique() == 2


def test_an_image_that_came_before_is_named_across_batches(run_dir, photos):
    table = clusterlab.load(run_dir).predict(photos, batch_size=2).to_pandas().set_index("id")
    assert table["duplicate_of"].to_dict() == {name: "a/2.png" if name == "same.bmp" else "" for name in table.index}


@pytest.mark.parametrize("batch_size", [1, 3, 11, 500])
def test_the_size_of_the_batches_changes_nothing(run_dir, photos, batch_size):
    model = clusterlab.load(run_dir, device="cpu")
    one, other = (model.predict(photos, batch_size=size).to_pandas() for size in (None, batch_size))
    pd.testing.assert_frame_equal(one, other, atol=1e-5)


def test_paths_folders_and_arrays_agree(run_dir, photos):
    model = clusterlab.load(run_dir)
    paths = sorted((photos / "a").iterdir())
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    values = [
        model.predict(images).drop(["id"]).to_pandas()
        for images in (photos / "a", paths, [str(path) for path in paths], pixels, pixels.transpose(0, 3, 1, 2))
    ]
    for other in values[1:]:
        pd.testing.assert_frame_equal(values[0], other)
    assert model.predict(pixels)["id"].to_pylist() == ["0", "1", "2", "3", "4"]
    assert model.predict(paths)["id"].to_pylist() == [str(path) for path in paths]


def test_grey_images_are_seen_by_colour_models_and_the_other_way_round(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (6, 16, 16), dtype=np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=3)
    for channels in (1, 3):
        model = clusterlab.load(write_small_model(tmp_path / f"{channels}", channels=channels))
        pd.testing.assert_frame_equal(model.predict(grey).to_pandas(), model.predict(colour).to_pandas())


def test_an_array_of_another_type_is_refused_in_one_line(run_dir):
    with pytest.raises(UserError, match="float64, not uint8"):
        clusterlab.load(run_dir).predict(np.zeros((2, 16, 16, 3)))


def test_no_images_give_an_empty_table_of_the_same_columns(run_dir):
    table = clusterlab.load(run_dir).predict([])
    assert (table.num_rows, table.column_names) == (0, COLUMNS)


def test_what_cannot_be_read_is_left_out_and_logged(run_dir, photos, caplog):
    (photos / "a" / "5.png").write_bytes(b"broken")
    missing = photos / "nothing.png"
    table = clusterlab.load(run_dir).predict([photos / "a" / "5.png", photos / "b" / "3.png", missing])
    assert table["id"].to_pylist() == [str(photos / "b" / "3.png")]
    assert "5.png (not an image in a known format" in caplog.text
    assert "nothing.png (no such file or directory)" in caplog.text


def test_batches_come_one_by_one_and_hold_their_rows(run_dir, photos):
    (photos / "a" / "0.png").write_bytes(b"")
    batches = list(clusterlab.load(run_dir).batches(photos, batch_size=4))
    assert [batch.table.num_rows for batch in batches] == [3, 4, 3]
    assert [len(batch.images) for batch in batches] == [3, 4, 3]
    assert [batch.unreadable for batch in batches] == [(("a/0.png", "an empty file"),), (), ()]


def test_no_more_than_two_batches_are_ever_decoded_and_not_yet_labelled(run_dir, monkeypatch):
    """Images are counted, not memory: a hundred batches go through, and at no time are more than two around."""
    alive, most, lock = 0, 0, threading.Lock()
    real, size = decoded.read_image, 5

    def read(source, **about):
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return real(source, **about)

    monkeypatch.setattr(decoded, "read_image", read)
    images = np.random.default_rng(0).integers(0, 256, (100 * size, 16, 16, 3), dtype=np.uint8)
    drawn = 0
    for batch in clusterlab.load(run_dir).batches(images, batch_size=size):
        drawn += batch.table.num_rows
        with lock:
            alive -= size
    assert drawn == 100 * size
    assert size < most <= 2 * size + 1  # one more: it is begun as the first of a batch is taken


def test_ids_that_are_hostile_are_inert(run_dir, photos):
    hostile = photos / "=cmd|' &C calc'!A0\n.png"
    (photos / "a" / "2.png").rename(hostile)
    ids = clusterlab.load(run_dir).predict(photos)["id"].to_pylist()
    assert "./=cmd|' &C calc'!A0\\u000a.png" in ids


def test_clusters_with_names_have_a_column_of_them(run_dir, photos):
    model = clusterlab.load(run_dir)
    clusters = model.predict(photos)["cluster"].to_pylist()
    (run_dir / "names.yaml").write_text(f"names:\n  {clusters[0]}: =dogs\n")
    named = clusterlab.load(run_dir).predict(photos)
    assert named.column_names == [*COLUMNS, "name"]
    assert named["name"].to_pylist() == ["./=dogs" if cluster == clusters[0] else "" for cluster in clusters]
    assert set(named["name"].to_pylist()) == {"./=dogs", ""}


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden": 6, "normalise": True},
        {"groups": [0, 1, 2, 3, 4, 0, 0]},
        {"backbone": LIBRARY, "size": 32, "view": 32},
        {"backbone": {"name": "resnet18", "stem": "cifar"}},
    ],
    ids=["hidden", "groups", "library", "resnet18"],
)
def test_every_kind_of_network_is_built_anew(tmp_path, shape):
    model = clusterlab.load(write_small_model(tmp_path, **shape), device="cpu")
    assert isinstance(model.network, Classifier)
    table = model.predict(np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8))
    assert all(0 <= cluster < 5 for cluster in table["cluster"].to_pylist())
    assert all(0.2 <= confidence <= 1 for confidence in table["confidence"].to_pylist())


def test_a_model_whose_weights_are_not_numbers_says_so(run_dir, photos):
    model = clusterlab.load(run_dir)
    model.network.heads.bias.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        model.predict(photos)


def test_a_batch_of_no_images_is_refused(run_dir, photos: Path):
    with pytest.raises(UserError, match="batch_size=0"):
        clusterlab.load(run_dir).predict(photos, batch_size=0)
