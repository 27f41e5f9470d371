"""New images get from a finished run what the run gave to its own."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import clusterlab
from clusterlab.__main__ import main
from command_line import SMALL, SMALL_KMEANS, Command
from killed import succeed

DATA = ("data=folder", "data.root=photos", "data.image_size=16", "data.views.size=16", "backbone=small")
WORDS = {
    "scan": SMALL["scan"],
    "spice": SMALL["spice"],
    "kmeans": SMALL_KMEANS,
}
"""Of the method by which the clusters came: SCAN with its student, SPICE with FixMatch, k-means."""
COUNT = 120
MEASURED = ["confidence", "margin", "distance"]


def scan_of(number: int) -> Image.Image:
    return Image.fromarray(np.rint(load_digits().images[number] * 255 / 16).astype(np.uint8))


def save_oddly(image: Image.Image, path: Path, number: int) -> None:
    """Save it as one of the kinds of files that people have, of another size each."""
    colour = image.resize((20 + number % 7, 30)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        0: lambda: colour.convert("RGBA").save(path.with_suffix(".png")),
        1: lambda: colour.quantize(16).save(path.with_suffix(".gif")),
        2: lambda: Image.fromarray(np.asarray(image).astype(np.uint16) * 257).save(path.with_suffix(".png")),
        3: lambda: colour.save(path.with_suffix(".jpg"), exif=exif),
        4: lambda: image.save(path.with_suffix(".png")),
    }
    kinds[number % 5]()


def photos(root: Path) -> None:
    """Digits in all kinds of files, two copies, a name that is a formula, and two files that are no images."""
    for number in range(COUNT):
        folder = root / f"{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        save_oddly(scan_of(number), folder / f"{number:03d}", number)
    scan_of(4).save(root / "copy of 4.png")
    scan_of(9).save(root / "=9.bmp")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (root / "empty.png").touch()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    photos(folder / "photos")
    for method, words in WORDS.items():
        succeed(folder, *words, *DATA, "num_clusters=4", f"run_dir={method}")
    return folder


@pytest.fixture
def command(folder, monkeypatch, capfd):
    """The command in this process, because starting one costs seconds; answers with its output."""

    def run(*words: str, code: int = 0) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["clusterlab", *words])
        ended = 0
        try:
            main()
        except SystemExit as end:
            ended = end.code
        output = "".join(capfd.readouterr())
        assert ended == code, output
        return output

    return run


@pytest.fixture
def predict(command):
    return lambda *words, code=0: command("predict", *words, code=code)


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


@pytest.mark.parametrize("method", WORDS)
def test_the_images_of_the_run_get_the_labels_of_the_run(folder, method):
    Command(folder)("predict", method, "photos", "--output", f"{method}.csv")
    run, new = read(folder / method / "assignments.csv"), read(folder / f"{method}.csv")
    assert len(new) == COUNT + 2
    assert run["distance"].nunique() > 50
    same = ["id", "cluster", "outlier", "duplicate_of"]
    pd.testing.assert_frame_equal(new[same], run[same])
    # As many images at once as in the run, in the same order: not one rounding differs.
    pd.testing.assert_frame_equal(new[MEASURED], run[MEASURED], atol=1e-5, rtol=0)
    assert list(new.columns) == [name for name in run.columns if name != "label"]
    assert set(new["split"]) == {"new"}
    assert new.set_index("id")["duplicate_of"]["copy of 4.png"] == "1/004.png"


def test_batches_of_another_size_give_the_same_labels_to_the_precision_of_the_run(folder, predict):
    predict("scan", "photos", "--output", "sevens.csv", "--batch-size", "7")
    run, new = read(folder / "scan" / "assignments.csv"), read(folder / "sevens.csv")
    sure = run["margin"] > 0.02  # bfloat16 has three digits
    assert (run["cluster"] == new["cluster"])[sure].all()
    pd.testing.assert_frame_equal(new[MEASURED], run[MEASURED], atol=0.02, rtol=0)


def test_files_that_cannot_be_read_are_listed_with_their_reasons(folder, predict):
    output = predict("scan", "photos", "--output", "listed.csv")
    assert "2 files left out:\n  broken.jpg: " in output
    assert "  empty.png: an empty file\n" in output
    assert f"{COUNT + 2} images labelled in" in output
    assert "listed.csv" in output


def test_no_more_than_twenty_are_listed(folder, predict):
    (folder / "bad").mkdir()
    for number in range(30):
        (folder / "bad" / f"{number:02d}.png").touch()
    scan_of(0).save(folder / "bad" / "good.png")
    output = predict("kmeans", "bad", "--output", "bad.csv")
    assert output.count("an empty file") == 20
    assert "30 files left out:" in output
    assert "and 10 more" in output
    (folder / "bad" / "good.png").unlink()
    before = (folder / "bad.csv").read_bytes()
    lines = predict("kmeans", "bad", "--output", "bad.csv", code=2).splitlines()
    assert lines == [
        "clusterlab: none of the 30 images can be read; the first, 00.png: an empty file",
    ]
    assert (folder / "bad.csv").read_bytes() == before


def test_the_folder_model_alone_is_enough_and_the_output_has_a_name_by_itself(folder, predict):
    shutil.copytree(folder / "scan" / "model", folder / "far" / "away")
    assert "photos-clusters.csv" in predict("far/away", "photos")
    predict("scan", "photos", "--output", "near.csv")
    assert (folder / "photos-clusters.csv").read_bytes() == (folder / "near.csv").read_bytes()


def test_lists_and_single_files_give_the_rows_of_the_folder(folder, predict):
    wanted = read(folder / "scan" / "assignments.csv")
    (folder / "list.txt").write_text("\n".join(f"photos/{name}" for name in ("1/004.png", "=9.bmp", "none.png")))
    predict("scan", "list.txt", "--output", "list.csv")
    predict("scan", "scan/assignments.parquet", "--root", "photos", "--output", "again.parquet")
    predict("scan", "photos/1/004.png", "--output", "one.csv")
    by_id = wanted.set_index("id")["cluster"]
    listed = read(folder / "list.csv")
    assert listed["id"].tolist() == ["photos/1/004.png", "photos/=9.bmp"]
    assert listed["cluster"].tolist() == [by_id["1/004.png"], by_id["./=9.bmp"]]
    again = pd.read_parquet(folder / "again.parquet")
    assert again["id"].tolist() == wanted["id"].tolist()
    assert again["cluster"].tolist() == wanted["cluster"].tolist()
    assert read(folder / "one.csv")["id"].tolist() == ["004.png"]


def test_files_are_sorted_into_a_folder_per_cluster_with_its_name(folder, predict):
    wanted = read(folder / "scan" / "assignments.csv")
    named = int(wanted["cluster"][0])
    before = {path: path.read_bytes() for path in (folder / "photos").rglob("*") if path.is_file()}
    (folder / "scan" / "names.yaml").write_text(f'names:\n  {named}: "../dogs & cats"\n')
    try:
        for how in ("copy", "link", "copy"):
            predict("scan", "photos", "--output", "sorted.csv", f"--{how}-to", f"by {how}")
    finally:
        (folder / "scan" / "names.yaml").unlink()
    rows = read(folder / "sorted.csv")
    assert set(rows["name"][rows["cluster"] == named]) == {"../dogs & cats"}
    for how in ("copy", "link"):
        found = {path.parent.name: 0 for path in (folder / f"by {how}").rglob("*.*")}
        for path in (folder / f"by {how}").glob("*/*"):
            assert path.is_symlink() == (how == "link")
            found[path.parent.name] += 1
        sizes = {f"{c}-dogs _ cats" if c == named else str(c): n for c, n in wanted["cluster"].value_counts().items()}
        assert found == sizes
    assert {path: path.read_bytes() for path in (folder / "photos").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scan", "nowhere"), "nowhere cannot be read (No such file or directory)"),
        (("nowhere", "photos"), "nowhere holds no model"),
        (("photos", "photos"), "photos holds no model"),
        (("scan", "photos", "--output", "a.xlsx"), "a.xlsx has to end in .csv or .parquet"),
        (("scan", "photos", "--output", "photos"), "--output=photos is a folder"),
        (("scan", "photos", "--output", "photos/=9.bmp/a.csv"), "cannot write photos/=9.bmp/a.csv"),
        (("scan", "scan/assignments.parquet", "--output", "scan/assignments.parquet"), "the list of images itself"),
        (("scan", "photos", "--copy-to", "photos/sorted"), "photos/sorted lies in photos"),
        (("scan", "photos", "--link-to", "photos/=9.bmp"), "photos/=9.bmp"),
        (("scan", "photos", "--device", "cuda:99"), "device=cuda:99"),
        (("scan", "scan/report.html"), "cannot read report.html: not an image"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(folder, predict, words, said):
    before = sorted(folder.iterdir())
    lines = predict(*words, code=2).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("clusterlab: ")
    assert said in lines[0]
    assert sorted(folder.iterdir()) == before


def test_python_gives_the_table_of_the_command(folder, predict):
    predict("spice", "photos", "--output", "spice.parquet")
    table = clusterlab.load(folder / "spice").predict(folder / "photos")
    pd.testing.assert_frame_equal(table.to_pandas(), pd.read_parquet(folder / "spice.parquet"), atol=1e-5)


def test_the_exported_model_labels_images_as_the_run_does(folder, command, predict):
    said = command("export", "spice", "--output", "served", "--format", "torch", "onnx", "--images", "photos")
    assert said.count("largest difference from the model") == 3
    predict("served", "photos", "--output", "served.csv")
    predict("spice", "photos", "--output", "unserved.csv")
    assert (folder / "served.csv").read_bytes() == (folder / "unserved.csv").read_bytes()
