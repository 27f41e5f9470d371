"""Folders as people have them: each gives clusters, or one line that names what is wrong."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clusterlab.artifacts import load
from clusterlab.data.store_manifest import MANIFEST, read_manifest
from clusterlab.output.safe_text import original_text
from command_line import SMALL
from killed import succeed

WORDS = (
    *(word for word in SMALL["scan"] if not word.startswith("data.limit")),
    "data=folder", "backbone=small", "data.image_size=16", "data.views.size=16", "run_dir=run",
)  # fmt: skip
TWINS = ("a first look.png", "the same again.bmp")
NAMES = (
    "Größe.png",
    "写真/猫.png",
    "emoji 🐈.png",
    "e\u0301 decomposed.png",
    'a "b", c.png',
    "=1+1.png",
    "semi;colon.png",
)
COLOURS = {
    "dot.png": (10, 200, 30),
    "cmyk.jpg": (255, 0, 0),
    "deep.png": (128, 128, 128),
    "film.gif": (0, 0, 255),
    "clear.png": (255, 255, 255),
}
BROKEN = ("cut.jpg", "empty.png")


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8))


def odd_folder(root: Path) -> None:
    """Write 14 images that can be read, of all kinds, and two files that cannot."""
    (root / "写真").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        noise(number).save(root / name)
    for name in TWINS:
        noise(99).save(root / name)
    Image.new("RGB", (1, 1), COLOURS["dot.png"]).save(root / "dot.png")
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(root / "cmyk.jpg")
    Image.new("I;16", (20, 20), 32896).save(root / "deep.png")
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((0, 0, 255), (255, 0, 0))]
    frames[0].save(root / "film.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(root / "clear.png")
    noise(7).save(root / "cut.jpg")
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:-200])
    (root / "empty.png").touch()


def class_folders(root: Path) -> None:
    for number in range(12):
        (root / "abc"[number % 3]).mkdir(parents=True, exist_ok=True)
        noise(number).save(root / "abc"[number % 3] / f"{number}.png")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "assignments.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def metrics(folder: Path) -> dict[str, object]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """One run on all the oddities; asks for 20 neighbours of 14 images, and for batches of 64."""
    folder = tmp_path_factory.mktemp("odd")
    odd_folder(folder / "photos")
    succeed(folder, *WORDS, "data.root=photos", "num_clusters=3")
    return folder


def test_broken_files_are_left_out_counted_and_named(odd):
    assert metrics(odd / "run")["unreadable"] == len(BROKEN)
    for place in ("clusterlab.log", "report.html"):
        text = (odd / "run" / place).read_text(encoding="utf-8")
        assert all(name in text for name in BROKEN), place
        assert "an empty file" in text, place
    assert not {row["id"] for row in rows(odd / "run")} & set(BROKEN)


def test_every_other_file_gets_a_cluster_under_its_own_name(odd):
    found = [row["id"] for row in rows(odd / "run")]
    assert {original_text(name) for name in found} == {*NAMES, *TWINS, *COLOURS}
    assert len(found) == len(NAMES) + len(TWINS) + len(COLOURS)
    assert {name for name in NAMES if not name.isascii()} <= set(found)
    assert {row["cluster"] for row in rows(odd / "run")} <= {"0", "1", "2"}


def test_every_kind_of_file_was_decoded_to_what_it_shows(odd):
    (store,) = (path for path in (odd / "outputs" / "stages" / "images").iterdir() if path.is_dir())
    ids = read_manifest(store / MANIFEST).ids
    pixels = np.load(store / "images.npy").astype(int)
    assert pixels.shape[1:] == (3, 16, 16)
    for name, colour in COLOURS.items():
        assert np.abs(pixels[ids.index(name)] - np.array(colour)[:, None, None]).max() <= 3, name


def test_an_image_that_is_there_twice_is_said_to_be(odd):
    first, again = TWINS
    copies = {row["id"]: row["duplicate_of"] for row in rows(odd / "run")}
    assert copies.pop(again) == first
    assert set(copies.values()) == {""}
    assert metrics(odd / "run")["duplicates"] == 1


def test_no_image_is_its_own_neighbour_where_fewer_are_there_than_asked_for(odd):
    (folder,) = (path for path in (odd / "outputs" / "stages").glob("neighbours-*") if path.is_dir())
    neighbours, _ = load(folder)
    others = [sorted(set(range(14)) - {i}) for i in range(14)]
    assert neighbours.train.sort(dim=1).values.tolist() == others
    log = (odd / "run" / "clusterlab.log").read_text(encoding="utf-8")
    assert "neighbours.num_neighbours=20" in log
    assert "using 13" in log


def test_a_flat_folder_has_no_scores_against_labels(odd):
    found = metrics(odd / "run")
    assert not {"acc", "nmi", "ari"} & (found.keys() | found["baseline"].keys())
    assert "label" not in rows(odd / "run")[0]
    assert "No label was used" in (odd / "run" / "report.html").read_text(encoding="utf-8")


def test_class_folders_are_scored_and_a_run_among_its_own_images_does_not_see_what_it_wrote(tmp_path):
    class_folders(tmp_path)
    words = (*WORDS, "data.root=.", "num_clusters=3")
    succeed(tmp_path, *words)
    before = rows(tmp_path / "run")
    assert {"acc", "nmi", "ari"} <= metrics(tmp_path / "run").keys()
    assert [row["label"] for row in before] == [row["id"][0] for row in before]
    assert (tmp_path / "run" / "clusters.png").exists()
    assert "starting" not in succeed(tmp_path, *words)
    assert rows(tmp_path / "run") == before


def nothing(root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_text("no image")


def only_broken(root: Path) -> None:
    root.mkdir()
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(b"\xff\xd8\xff broken")


def one_good_one_broken(root: Path) -> None:
    root.mkdir()
    noise(0).save(root / "good.png")
    (root / "broken.png").write_bytes(b"broken")


@pytest.mark.parametrize(
    ("write", "words", "said"),
    [
        (nothing, (), ["photos holds no image files", ".jpg", "data.root"]),
        (only_broken, (), ["none of the 3 images of photos can be read", "0.jpg: not an image"]),
        (one_good_one_broken, (), ["num_clusters=3", "photos has only 1 image to train on", "at least 2"]),
        (class_folders, ("data.views.size=64",), ["data.views.size=64", "16 × 16", "add data.views.size=16"]),
    ],
)
def test_a_folder_that_cannot_be_clustered_ends_in_one_clear_line(
    tmp_path: Path, write: Callable[[Path], None], words: tuple[str, ...], said: list[str]
):
    write(tmp_path / "photos")
    lines = succeed(tmp_path, *WORDS, "data.root=photos", "num_clusters=3", *words, code=2).splitlines()
    mistakes = [line for line in lines if line.startswith("clusterlab: ")]
    assert mistakes == lines[-1:], lines
    assert not any("Traceback" in line for line in lines)
    assert all(part in mistakes[0] for part in said), mistakes[0]
    assert not (tmp_path / "run" / "metrics.json").exists()
