"""Bad input: folders of images."""

import io
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from composed import composed, plain_line_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import clusterlab.data.tree
import clusterlab.run
from clusterlab.config import parse
from clusterlab.data.decode import FORMATS, UnreadableImageError, decode_file
from clusterlab.durable import remove

WORDS = (
    "data=folder", "data.root=photos", "backbone=small", "backbone.width=4", "data.image_size=16",
    "data.views.size=16", "data.limit=null", "trainer.max_epochs=1",
)  # fmt: skip
SUFFIXES = {
    "1": "png", "L": "png", "LA": "png", "P": "gif", "PA": "tiff", "RGB": "jpg", "RGBA": "png", "CMYK": "jpg",
    "YCbCr": "jpg", "LAB": "tiff", "I;16": "png", "I": "tiff", "F": "tiff",
}  # fmt: skip
"""Of a file that can hold pixels of each mode."""
SIZES = ((1, 1), (1, 5000), (5000, 1), (3, 2), (24, 20))
WRONG = {"png": "jpg", "jpg": "gif", "gif": "tiff", "tiff": "png"}
STATES = ("whole", "whole", "whole", "another suffix", "cut", "empty", "text", "a folder")
TRIED = 12


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path: Path, mode: str = "RGB", size: tuple[int, int] = (24, 20), seed: int = 0) -> Path:
    """Write noise; a palette has a transparent entry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if mode in ("I;16", "I"):
        image = Image.fromarray(
            levels[..., 0].astype(np.uint16) * 257 if mode == "I;16" else levels[..., 0].astype("i4")
        )
    elif mode == "LAB":
        image = Image.frombytes("LAB", size, levels.tobytes())
    else:
        image = Image.fromarray(levels).convert("P" if mode == "PA" else mode)
    image.save(path, **({"transparency": 0} if mode == "P" else {}))
    return path


def photos(count: int, folder: str = "photos") -> list[Path]:
    return [write(Path(folder, f"{number}.png"), seed=number) for number in range(count)]


def end_of(*words: str, method: str = "scan", k: int | str = 3) -> str:
    return plain_line_of(composed(method, *WORDS, f"num_clusters={k}", *words))


def metrics() -> dict[str, object]:
    return json.loads(Path("run", "metrics.json").read_text(encoding="utf-8"))


def check_left_out(*names: str) -> None:
    """See that these files are left out, counted, and named in the report; the log tells their number."""
    assert metrics()["unreadable"] == len(names)
    report, log = (Path("run", name).read_text(encoding="utf-8") for name in ("report.html", "clusterlab.log"))
    assert all(name in report for name in names)
    told = f"{len(names)} file{'s' * (len(names) > 1)} cannot be read and {'are' if len(names) > 1 else 'is'} left out"
    assert (told in log) == bool(names)


def test_every_size_and_mode_is_read(tried):
    """Images of 1 × 1, 1 × 5000 and 5000 × 1 pixels and others, in 13 modes: none is left out"""
    names = [
        write(Path("photos", f"{mode.replace(';', '-')}-{size[0]}x{size[1]}.{suffix}"), mode, size, seed).name
        for seed, (mode, suffix) in enumerate(SUFFIXES.items())
        for size in SIZES
    ]
    assert not end_of()
    check_left_out()
    assert Path("run", "assignments.csv").read_text(encoding="utf-8").count("\n") == len(names) + 1
    tried(len(names))


def spoil(path: Path, state: str) -> bool | None:
    """Bring a file into a state; return whether it can still be read, None for maybe."""
    if state == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return None
    if state == "a folder":
        path.unlink()
        path.mkdir()
    elif state in ("empty", "text"):
        path.write_text("" if state == "empty" else "not an image\n" * 50)
    elif state == "another suffix":
        path.rename(path.with_suffix(f".{WRONG[path.suffix[1:]]}"))
    return state in ("whole", "another suffix")


FILES = st.lists(
    st.tuples(st.sampled_from(list(SUFFIXES)), st.sampled_from(SIZES), st.sampled_from(STATES)), max_size=9
)


def test_whatever_a_folder_holds_it_is_clustered_or_refused_in_a_line(tmp_path, monkeypatch, tried):
    """Generated folders of images whole, cut, empty, of another suffix, or text: clusters, or one line"""
    seen: list[bool] = []

    @settings(max_examples=TRIED, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(FILES, st.sampled_from([2, 3, 6]))
    def check(files, k):
        folder = tmp_path / str(len(seen))
        (folder / "photos").mkdir(parents=True)
        monkeypatch.chdir(folder)
        left = [
            spoil(write(Path("photos", f"{number}.{SUFFIXES[mode]}"), mode, size, number), state)
            for number, (mode, size, state) in enumerate(files)
        ]
        line = end_of(k=k)
        seen.append(not line)
        least, most = left.count(True), len(left) - left.count(False)
        if line:
            assert least < k, line
            assert any(word in line for word in ("num_clusters=", "data.root", "images of photos can be read")), line
        else:
            assert most >= k
            assert len(left) - most <= metrics()["unreadable"] <= len(left) - least

    check()
    assert 0 < sum(seen) < len(seen)
    tried(len(seen))


def test_a_damaged_image_gives_pixels_or_a_reason(tmp_path, tried):
    """An image of each format, cut at 12 places and with 24 bytes changed: pixels, or a reason in one line"""
    reasons, times = [], 0
    rng = np.random.default_rng(0)
    for format in FORMATS:
        written = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(written, format)
        whole = written.getvalue()
        cuts = [whole[:end] for end in np.linspace(1, len(whole) - 1, 12).astype(int)]
        # The first bytes hold the header, in which a change does most.
        places = [*rng.integers(0, min(100, len(whole)), 16), *rng.integers(0, len(whole), 8)]
        flipped = [whole[:at] + bytes([whole[at] ^ rng.integers(1, 256)]) + whole[at + 1 :] for at in places]
        for content in (*cuts, *flipped):
            (tmp_path / "image").write_bytes(content)
            times += 1
            try:
                assert decode_file(tmp_path / "image", 8).shape == (3, 8, 8)
            except UnreadableImageError as error:
                reasons.append(str(error))
    assert times / 4 < len(reasons) < times
    assert all(reason and "\n" not in reason for reason in reasons)
    tried(times)


def test_files_and_folders_that_may_not_be_read_are_left_out_and_named(monkeypatch):
    """A file and a folder without the right to read them, as a user who is not root"""
    with tempfile.TemporaryDirectory() as place:  # the folders of pytest are root's alone
        monkeypatch.chdir(place)
        photos(4)
        photos(2, "photos/closed")
        Path("photos", "0.png").chmod(0)
        Path("photos", "closed").chmod(0)
        config = parse(composed("scan", *WORDS, "num_clusters=3"))
        root = not os.geteuid()
        if root:
            os.chmod(place, 0o777)
            os.seteuid(65534)
        try:
            images = clusterlab.run.load_images(config)
        finally:
            if root:
                os.seteuid(0)
            Path("photos", "closed").chmod(0o700)
    assert images.ids == ("1.png", "2.png", "3.png")
    assert dict(images.unreadable) == {
        "0.png": "permission denied", "closed/": "a folder that cannot be read (Permission denied)",
    }  # fmt: skip


def test_files_that_change_after_they_were_listed_are_left_out_or_read_as_they_are(monkeypatch):
    """Files removed, emptied, cut, replaced by others or by folders between the listing and the decoding"""
    names = [path.name for path in photos(12)]
    listed = clusterlab.data.tree.read_tree

    def change(root):
        tree = listed(root)
        for name, state in zip(names, ("gone", "empty", "cut", "text", "a folder"), strict=False):
            remove(root / name) if state == "gone" else spoil(root / name, state)
        write(root / names[5], "I;16", (7, 3))
        return tree

    monkeypatch.setattr(clusterlab.data.tree, "read_tree", change)
    assert not end_of()
    check_left_out(*names[:5])
    monkeypatch.setattr(clusterlab.data.tree, "read_tree", listed)
    shutil.rmtree("run")
    assert not end_of()
    check_left_out(*names[1:5])  # the one that is gone is no file any more


def test_a_folder_that_vanishes_before_the_decoding_is_told(monkeypatch):
    """The whole folder removed between the listing and the decoding"""
    photos(5)
    listed = clusterlab.data.tree.read_tree

    def vanish(root):
        tree = listed(root)
        shutil.rmtree(root)
        return tree

    monkeypatch.setattr(clusterlab.data.tree, "read_tree", vanish)
    assert "none of the 5 images of photos can be read; the first, 0.png: no such file" in end_of()
    assert "data.root=photos does not exist" in end_of()


def test_a_folder_that_vanishes_after_the_decoding_is_not_missed(monkeypatch):
    """The whole folder removed between the decoding and the report"""
    photos(12)
    whole = clusterlab.run.write_outputs

    def vanish(*given):
        shutil.rmtree("photos")
        return whole(*given)

    monkeypatch.setattr(clusterlab.run, "write_outputs", vanish)
    assert not end_of()
    check_left_out()
    assert Path("run", "clusters.png").stat().st_size


def equal_images() -> None:
    for number in range(12):
        write(Path("photos", f"{number}.png"), seed=0)


CLUSTERED = {"scan": "", "spice": "", "asd": "too few for "}
"""What is said of enough images; of ASD's classes too few have transitions after one epoch."""
LEAVES_NONE = {"scan": "", "spice": "use head.batch_size=", "asd": "too few for "}
UNCOUNTED = "3 images are too few to find out how many clusters there are: use num_clusters=N"
TOO_FEW = "images are too few to tell 30 clusters apart: use num_clusters=N"
FOLDERS = {
    "all images equal": (equal_images, 3, CLUSTERED),
    "one class folder only": (lambda: photos(12, "photos/a"), 3, CLUSTERED),
    "two images": (lambda: photos(2), 2, LEAVES_NONE),
    "one image": (lambda: photos(1), 2, "num_clusters=2, but photos has only 1 image"),
    "as many clusters as images": (lambda: photos(6), 6, LEAVES_NONE),
    "more clusters than images": (lambda: photos(6), 7, "num_clusters=7, but photos has only 6 images"),
    "too few to count clusters": (lambda: photos(3), "auto", {"scan": UNCOUNTED, "spice": UNCOUNTED, "asd": TOO_FEW}),
    "all equal, clusters to be counted": (equal_images, "auto", {**CLUSTERED, "asd": TOO_FEW}),
}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("method", ["scan", "spice", "asd"])
def test_small_and_uniform_folders_are_clustered_or_refused_in_a_line(method, folder):
    """Equal images, one class folder, two images, more clusters than images: clusters, or the line that says why"""
    make, k, said = FOLDERS[folder]
    make()
    words = [f"head.num_instances={k}"] if method == "asd" and k != "auto" else []
    line = end_of(*words, method=method, k=k)
    said = said if isinstance(said, str) else said[method]
    assert said in line
    assert bool(said) == bool(line), line
