"""Hostile names of files, classes and clusters: inert text in what is written, and no way out of a folder."""

import csv
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from composed import composed, plain_line_of
from here import Here
from PIL import Image

from clusterlab.output.safe_text import original_text
from inert import Page, assert_inert

NAMES = (
    "=cmd|' calc'!A0.png", "+1.png", "-rf.png", "@SUM(A1).png", 'a"b,c.png', "line\nbreak\r.png", "tab\t=1.png",
    "semi;=1+1.png", "back\\..\\slash.png", "<script>alert(1)<|script>.png", '"><img src=x onerror=alert(1)>.png',
    "{{ 7 * 7 }}{% raw %}.png", "clear\x1b[2J.png", "\u202egnp.exe.png", "１＋１.png", "x" * 240 + ".png",
)  # fmt: skip
CLASSES = ("=1+1", "<marquee>", "plain")
CLUSTERS = {0: "../../out", 1: "/etc/<b>x</b>", 2: "=1+1"}
BROKEN = "<blink>broken.png"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
SMALL_IMAGES = (
    "data.image_size=16", "data.views.size=16", "backbone=small", "backbone.width=4", "num_clusters=3",
    "trainer.max_epochs=1",
)  # fmt: skip
COLUMNS = ("id", "duplicate_of", "label", "name")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A finished run on files of such names, and what clusters a person called so."""
    folder = tmp_path_factory.mktemp("names")
    for number, name in enumerate(NAMES):
        path = folder / "photos" / CLASSES[number % 3] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(levels).save(path, "PNG")
    copy = folder / "photos" / CLASSES[1] / "copy.png"
    copy.write_bytes((folder / "photos" / CLASSES[0] / NAMES[0]).read_bytes())
    (folder / "photos" / CLASSES[0] / BROKEN).touch()
    values = composed("scan", "data=folder", "data.root=photos", *SMALL_IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert not plain_line_of(values)
    lines = [f"  {cluster}: '{name}'" for cluster, name in CLUSTERS.items()]
    (folder / "run" / "names.yaml").write_text("\n".join(["names:", *lines]))
    return Here(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """What every file and link below it holds; a link, where it leads."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def check_table(path: Path, times: int) -> None:
    text = path.read_bytes().decode("utf-8")
    assert text.count("\n") == times + 1
    assert not set(text) & set("\x1b\r\t\u202e")
    rows = list(csv.DictReader(text.splitlines()))
    found = [original_text(row["id"]) for row in rows]
    assert len(found) == times
    assert {name.rpartition("/")[2] for name in found} == {*NAMES, "copy.png"}
    # Numbers may be negative; a spreadsheet may also take semicolons for separators.
    cells = [row.get(column) or "" for row in rows for column in COLUMNS]
    cells += [cell for row in csv.reader(text.splitlines(), delimiter=";") for cell in row]
    assert not [cell for cell in cells if cell.lstrip().startswith(FORMULA)]


def test_tables_hold_no_formula_and_one_line_for_each_image(place, tried):
    """Formulas, line breaks, separators, escape codes in names of files and classes: assignments.csv is inert"""
    check_table(place.folder / "run" / "assignments.csv", len(NAMES) + 1)
    tried(len(NAMES))


def test_the_report_shows_names_as_text(place, tried):
    """HTML, templates and reversed text in names of files and classes: report.html holds no element of theirs"""
    html = (place.folder / "run" / "report.html").read_text(encoding="utf-8")
    assert_inert(html)
    assert "\u202e" not in html
    page = Page(html)
    assert not [tag for tag, _ in page.elements if tag in ("blink", "marquee")]
    assert BROKEN in page.text
    tried(len(NAMES))


def test_the_log_has_a_plain_line_of_its_own_for_each_message(place):
    """The same names in the log: no escape code, no line that it has not written itself"""
    log = (place.folder / "run" / "clusterlab.log").read_text(encoding="utf-8")
    assert BROKEN in log
    assert not set(log) & set("\x1b\r\u202e")


@pytest.mark.parametrize("how", ["copy", "link"])
def test_sorted_files_stay_below_their_folder_and_replace_nothing(place, how, tried):
    """--copy-to and --link-to with such names of files and clusters: all below DIR, what lay there stays as it was"""
    mine = place.folder / f"by {how}" / "0-out" / NAMES[1]
    for name in ("0-out", "1-etc__b_x__b", "2-1_1"):
        (place.folder / f"by {how}" / name).mkdir(parents=True)
        (place.folder / f"by {how}" / name / NAMES[1]).write_bytes(b"mine")
    (place.folder / f"by {how}" / "0-out" / NAMES[2]).symlink_to("../../photos/nowhere")
    outside = place.folder.parent
    before = contents(outside)
    words = ("predict", "run", "photos", f"--{how}-to", f"by {how}", "--output", f"{how}.csv")
    for _ in range(2):
        place(*words)
        after = contents(outside)
        assert before.items() <= after.items()
        new = {Path(name).relative_to(place.folder.name) for name in after.keys() - before.keys()}
        table, *placed = sorted(new, key=lambda path: len(path.parts))
        assert table == Path(f"{how}.csv")
        assert len(placed) == len(NAMES) + 1
        assert {path.parts[0] for path in placed} == {f"by {how}"}
        assert {len(path.parts) for path in placed} == {3}
    assert mine.read_bytes() == b"mine"
    check_table(place.folder / f"{how}.csv", len(NAMES) + 1)
    tried(len(NAMES))


def test_a_link_in_the_place_of_a_clusters_folder_is_refused(place):
    """A link that leads out of DIR where a cluster's folder should be: refused in a line, nothing is written there"""
    (place.folder / "elsewhere").mkdir()
    (place.folder / "traps").mkdir()
    for name in ("0-out", "1-etc__b_x__b", "2-1_1"):
        (place.folder / "traps" / name).symlink_to(place.folder / "elsewhere")
    line = place.refusal("predict", "run", "photos", "--copy-to", "traps", "--output", "traps.csv")
    assert "is a link, which may lead anywhere" in line
    assert not list((place.folder / "elsewhere").iterdir())


def test_nothing_of_a_shard_is_extracted(tmp_path, monkeypatch):
    """A shard whose names climb out of its folder or are absolute: read as names, no file appears"""
    (tmp_path / "shards").mkdir()
    monkeypatch.chdir(tmp_path)
    outside = (f"../{tmp_path.name}-climbed", str(tmp_path / "absolute"), "../../x", "sub/../../y")
    with tarfile.open("shards/a.tar", "w") as tar:
        for number, name in enumerate((*outside, *map(str, range(8)))):
            content = io.BytesIO()
            levels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(levels).save(content, "PNG")
            member = tarfile.TarInfo(f"{name}.png")
            member.size = content.tell()
            tar.addfile(member, io.BytesIO(content.getvalue()))
    assert not plain_line_of(composed("scan", "data=webdataset", "data.root=shards", *SMALL_IMAGES))
    table = Path("run", "assignments.csv").read_text(encoding="utf-8")
    assert all(name in table for name in outside)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", "run", "shards"]
    assert not list(tmp_path.parent.glob("*climbed*"))
    assert [name for name in contents(tmp_path) if name.endswith(".png")] == ["run/clusters.png"]
