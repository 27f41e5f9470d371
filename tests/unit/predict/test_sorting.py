import os
from pathlib import Path

import pytest

from clusterlab.errors import UserError
from clusterlab.predict import sorting
from clusterlab.predict.sorting import Sorter, folder_name


def sorter(root, how="copy", num_clusters=3, names=None):
    return Sorter(root, how=how, num_clusters=num_clusters, names=names or {})


def tree(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if not path.is_dir()
    }


@pytest.fixture
def files(tmp_path):
    """Two different files of one name, and one more."""
    for name, content in {"a/1.png": b"one", "b/1.png": b"other", "b/2.png": b"two"}.items():
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_bytes(content)
    return [tmp_path / "from" / name for name in ("a/1.png", "b/1.png", "b/2.png")]


@pytest.mark.parametrize("how", ["copy", "link"])
def test_nothing_is_moved_and_names_that_two_files_have_get_a_number(tmp_path, files, how):
    before = tree(tmp_path / "from")
    for path, cluster in zip(files, (0, 0, 2), strict=True):
        sorter(tmp_path / "to", how).add(path, cluster)
    assert tree(tmp_path / "to") == {"0/1.png": b"one", "0/1-2.png": b"other", "2/2.png": b"two"}
    assert tree(tmp_path / "from") == before
    assert all(path.is_symlink() == (how == "link") for path in (tmp_path / "to").glob("*/*"))


@pytest.mark.parametrize("how", ["copy", "link"])
def test_a_second_time_adds_and_changes_nothing(tmp_path, files, how):
    for _ in range(3):
        for path in files:
            sorter(tmp_path / "to", how).add(path, 1)
    assert sorted(tree(tmp_path / "to")) == ["1/1-2.png", "1/1.png", "1/2.png"]


@pytest.mark.parametrize("how", ["copy", "link"])
def test_what_a_person_put_there_stays(tmp_path, files, how):
    (tmp_path / "to" / "0").mkdir(parents=True)
    (tmp_path / "to" / "0" / "1.png").write_bytes(b"mine")
    (tmp_path / "to" / "0" / "1-2.png").symlink_to("nowhere")
    sorter(tmp_path / "to", how).add(files[0], 0)
    assert (tmp_path / "to" / "0" / "1.png").read_bytes() == b"mine"
    assert os.readlink(tmp_path / "to" / "0" / "1-2.png") == "nowhere"
    assert (tmp_path / "to" / "0" / "1-3.png").read_bytes() == b"one"


def test_a_link_to_the_same_pixels_is_not_written_through(tmp_path, files):
    (tmp_path / "to" / "0").mkdir(parents=True)
    (tmp_path / "to" / "0" / "1.png").symlink_to(files[1])
    sorter(tmp_path / "to").add(files[0], 0)
    assert files[1].read_bytes() == b"other"
    assert not (tmp_path / "to" / "0" / "1-2.png").is_symlink()


def test_a_link_in_the_place_of_a_clusters_folder_is_not_followed(tmp_path, files):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link, which may lead anywhere"):
        sorter(tmp_path / "to").add(files[0], 0)
    assert list((tmp_path / "elsewhere").iterdir()) == []


NAMES = [
    "../../etc", "/etc/passwd", "..", ".", ".hidden", "a/b\\c", "nul\0l", "line\nbreak", "C:con", "-rf", "x" * 100,
    "猫" * 100, "   ", "=1+1", "\u202eevil",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_of_a_cluster_stays_one_folder_below(tmp_path, files, name):
    sorter(tmp_path / "to", names={0: name}).add(files[0], 0)
    ((relative, content),) = tree(tmp_path / "to").items()
    folder, _, file = relative.rpartition("/")
    assert (folder.count("/"), file, content) == (0, "1.png", b"one")
    assert folder.startswith("0")
    assert set(folder) <= {"0", "-", "_", " ", *filter(str.isalnum, folder)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "to"]


def test_folders_have_numbers_of_one_width_and_the_names_of_their_clusters(tmp_path):
    assert folder_name("07", "Hunde & Katzen, große") == "07-Hunde _ Katzen_ große"
    found = sorter(tmp_path, num_clusters=11, names={3: "dogs"})._folders
    assert [path.name for path in found.values()] == ["00", "01", "02", "03-dogs", *(f"{i:02d}" for i in range(4, 11))]


@pytest.mark.parametrize("how", ["copy", "link"])
@pytest.mark.parametrize(
    "name", ["..png", "...", "-rf.png", "=1.png", "a\nb.png", "back\\..\\slash.png", "x" * 251 + ".png"]
)
def test_hostile_names_of_files_are_kept_and_lead_nowhere(tmp_path, name, how):
    for folder in "ab":
        (tmp_path / "from" / folder).mkdir(parents=True)
        (tmp_path / "from" / folder / name).write_bytes(folder.encode())
        sorter(tmp_path / "to", how).add(tmp_path / "from" / folder / name, 1)
    found = tree(tmp_path / "to")
    assert found[f"1/{name}"] == b"a"
    assert sorted(found.values()) == [b"a", b"b"]
    assert all(path.startswith("1/") and path.count("/") == 1 for path in found)


def test_a_copy_appears_whole_or_not_at_all(tmp_path, files, monkeypatch):
    def fails(source, target):
        Path(target).write_bytes(b"hal")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sorting.shutil, "copy2", fails)
    with pytest.raises(UserError, match="No space left"):
        sorter(tmp_path / "to").add(files[0], 0)
    assert tree(tmp_path / "to") == {}


def test_where_there_are_no_hard_links_nothing_is_replaced_either(tmp_path, files, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sorting.os, "link", refused)
    for path in (*files, *files):
        sorter(tmp_path / "to").add(path, 0)
    assert tree(tmp_path / "to") == {"0/1.png": b"one", "0/1-2.png": b"other", "0/2.png": b"two"}
