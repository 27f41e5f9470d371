import os

import numpy as np
import pandas as pd
import pytest

from clusterlab.data.decode import UnreadableImageError
from clusterlab.errors import UserError
from clusterlab.output.safe_text import safe_text
from clusterlab.predict.new_images import find_images


def pairs(images):
    return [(image.id, str(image.source)) for image in images]


def test_a_text_file_has_a_path_in_each_line(tmp_path):
    names = ["a b.png", " leading.png", "ü.png", "a,b.png", "#1.png"]
    (tmp_path / "list.txt").write_text("\ufeff" + "\r\n".join([*names, "", ""]), encoding="utf-8")
    found = find_images(tmp_path / "list.txt", root=tmp_path)
    assert found.count == 5
    assert pairs(found) == [(name, str(tmp_path / name)) for name in names]
    assert pairs(found) == pairs(found)  # once more


def test_a_line_may_name_a_file_whose_name_is_not_utf8(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff.png\n")
    (image,) = find_images(tmp_path / "list.txt", root=tmp_path)
    assert os.fsencode(image.source) == os.fsencode(tmp_path) + b"/\xff.png"


def test_an_absolute_path_is_not_below_the_root(tmp_path):
    (tmp_path / "list.txt").write_text("/elsewhere/a.png\n")
    assert pairs(find_images(tmp_path / "list.txt", root=tmp_path)) == [("/elsewhere/a.png", "/elsewhere/a.png")]


@pytest.mark.parametrize(
    ("columns", "column", "wanted"),
    [
        ({"id": ["x"], "path": ["p"]}, None, "p"),
        ({"cluster": [3], "id": ["x"]}, None, "x"),
        ({"path": ["p"], "file": ["f"]}, "file", "f"),
    ],
)
def test_a_parquet_file_gives_the_column_of_paths(tmp_path, columns, column, wanted):
    pd.DataFrame(columns).to_parquet(tmp_path / "list.parquet")
    assert pairs(find_images(tmp_path / "list.parquet", column=column)) == [(wanted, wanted)]


def test_ids_of_a_table_of_assignments_lead_back_to_their_files(tmp_path):
    names = ["=1+1.png", "semi;colon.png", "back\\slash.png", "plain.png"]
    pd.DataFrame({"id": [safe_text(name) for name in names]}).to_parquet(tmp_path / "assignments.parquet")
    found = find_images(tmp_path / "assignments.parquet", root=tmp_path)
    assert pairs(found) == [(name, str(tmp_path / name)) for name in names]


def test_a_row_without_a_path_is_no_image(tmp_path):
    pd.DataFrame({"path": ["a.png", None, ""]}).to_parquet(tmp_path / "list.parquet")
    found = list(find_images(tmp_path / "list.parquet"))
    assert [isinstance(image.source, UnreadableImageError) for image in found] == [False, True, True]
    assert [image.id for image in found] == ["a.png", "row 2", "row 3"]


def test_a_folder_gives_its_tree_and_what_only_looks_like_an_image(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.png").touch()
    (tmp_path / "b" / "notes.md").touch()
    (tmp_path / "a.jpg").symlink_to("nowhere")
    found = find_images(tmp_path)
    assert found.count == 2
    assert [(image.id, str(image.source)) for image in found] == [
        ("b/1.png", str(tmp_path / "b" / "1.png")),
        ("a.jpg", "a link to nothing"),
    ]


def test_paths_one_by_one_may_never_end():
    def forever():
        while True:
            yield "a.png"

    found = find_images(forever())
    assert found.count is None
    assert next(iter(found)).id == "a.png"


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "nothing", "cannot be read .No such file"),
        (lambda folder: "nul\0l", "cannot be read"),
        (lambda folder: folder, "holds no image files"),
        (lambda folder: write(folder / "a.txt", b"\n\n"), "a.txt is empty"),
        (lambda folder: write(folder / "a.parquet", b"no table"), "no Parquet file"),
        (lambda folder: 3, "not int"),
        (lambda folder: np.zeros((2, 5, 5, 5), dtype=np.uint8), "the array: the images are 2×5×5×5"),
    ],
)
def test_what_holds_no_images_is_one_clear_line(tmp_path, make, said):
    with pytest.raises(UserError, match=said):
        find_images(make(tmp_path))


@pytest.mark.parametrize(
    ("columns", "column", "said"),
    [
        ({"file": ["a"]}, None, "neither a column path nor id, but file"),
        ({"path": ["a"]}, "file", "no column file, but path"),
        ({"path": [3]}, None, "the column path holds int64, not text"),
    ],
)
def test_a_parquet_file_without_paths_is_one_clear_line(tmp_path, columns, column, said):
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=said):
        find_images(tmp_path / "a.parquet", column=column)
