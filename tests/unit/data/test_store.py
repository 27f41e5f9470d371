import errno
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from film import Film

from clusterlab.data.originals import split_sizes
from clusterlab.data.rows_on_disk import StoredImages, sha256_of
from clusterlab.data.store import Stored, decode_once
from clusterlab.data.store_build import PIXELS
from clusterlab.data.store_manifest import MANIFEST
from clusterlab.errors import UserError

NUM = 100
ON_DISK = 1e-9
"""GiB: everything is larger."""


Load = Callable[..., Stored]


@pytest.fixture
def store(tmp_path: Path) -> Load:
    def load(film: Film, chosen: range | None = None, memory_limit: float = 1.0) -> Stored:
        return decode_once(
            film.originals, chosen or range(NUM), store_dir=tmp_path / "stages", memory_limit=memory_limit
        )

    return load


def folders(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "stages").iterdir() if path.is_dir()]


def the_store(tmp_path: Path) -> Path:
    (folder,) = folders(tmp_path)
    return folder


def test_every_image_is_stored_in_order_with_its_id_and_split(store: Load):
    film = Film()
    stored = store(film)
    assert np.array_equal(stored.pixels, np.stack([film.pixels(i) for i in range(NUM)]))
    assert stored.ids == film.originals.ids
    assert stored.splits == film.originals.splits
    assert stored.unreadable == ()


def test_the_lock_of_a_job_that_was_killed_when_it_had_made_the_store_goes_with_the_next_load(
    store: Load, tmp_path: Path
):
    store(Film())
    lock = the_store(tmp_path).with_suffix(".lock")
    lock.write_text("process 1 on elsewhere")
    store(Film())
    assert not lock.exists()


def test_a_second_load_reads_no_image_again(store: Load):
    first = store(Film())
    film = Film()
    second = store(film)
    assert film.reads == 0
    assert np.array_equal(first.pixels, second.pixels)
    assert first.fingerprint == second.fingerprint


def test_images_that_stay_on_the_disk_have_the_pixels_checksums_and_fingerprint_of_those_in_memory(store: Load):
    film = Film()
    large, held = store(film, memory_limit=ON_DISK), store(film)
    assert isinstance(large.pixels, StoredImages)
    assert isinstance(held.pixels, np.ndarray)
    assert not isinstance(held.pixels, np.memmap)
    assert held.pixels.flags.writeable  # torch.from_numpy warns of any other
    assert large.pixels.shape == held.pixels.shape
    assert np.array_equal(large.pixels[:], held.pixels)
    assert [sums.tobytes() for sums in large.pixels.sums] == [sha256_of(image) for image in held.pixels]
    assert large.fingerprint == held.fingerprint


def test_images_of_exactly_the_limit_are_held_in_memory(store: Load):
    size = NUM * 3 * 4 * 4
    assert isinstance(store(Film(), memory_limit=size / 2**30).pixels, np.ndarray)
    assert isinstance(store(Film(), memory_limit=(size - 1) / 2**30).pixels, StoredImages)


def test_unreadable_images_leave_no_gap_and_are_listed(store: Load):
    film = Film(broken=(0, 41, NUM - 1))
    stored = store(film)
    kept = [i for i in range(NUM) if i not in film.broken]
    assert np.array_equal(stored.pixels, np.stack([film.pixels(i) for i in kept]))
    assert stored.ids == tuple(film.originals.ids[i] for i in kept)
    assert stored.splits == tuple(film.originals.splits[i] for i in kept)
    assert stored.unreadable == (("frame 0", "torn"), ("frame 41", "torn"), ("frame 99", "torn"))
    assert store(Film(broken=film.broken)).unreadable == stored.unreadable


def test_if_no_image_can_be_read_the_first_is_named_and_nothing_is_left(tmp_path: Path, store: Load):
    with pytest.raises(UserError, match=r"none of the 100 images of film can be read.*frame 0: torn"):
        store(Film(broken=tuple(range(NUM))))
    assert folders(tmp_path) == []


def test_another_stamp_size_or_selection_is_another_store(tmp_path: Path, store: Load):
    for film, chosen in ((Film(), None), (Film(edition=1), None), (Film(size=5), None), (Film(), range(50))):
        store(film, chosen)
        assert film.reads == len(chosen or range(NUM))
    assert len(folders(tmp_path)) == 4


def test_the_fingerprint_follows_ids_splits_and_pixels_and_not_the_stamps(store: Load):
    fingerprint = store(Film()).fingerprint
    assert store(Film(edition=1)).fingerprint == fingerprint
    assert store(Film(size=5)).fingerprint != fingerprint
    assert store(Film(), range(NUM - 1)).fingerprint != fingerprint
    renamed, swapped = Film(), Film()
    object.__setattr__(renamed.originals, "ids", tuple(f"still {i}" for i in range(NUM)))
    object.__setattr__(swapped.originals, "splits", split_sizes(train=NUM - 21, test=21))
    assert len({fingerprint, store(renamed).fingerprint, store(swapped).fingerprint}) == 3


def flip_a_pixel(folder: Path) -> None:
    content = bytearray((folder / PIXELS).read_bytes())
    content[-1] ^= 1
    (folder / PIXELS).write_bytes(content)


def cut_the_pixels(folder: Path) -> None:
    (folder / PIXELS).write_bytes((folder / PIXELS).read_bytes()[:-1])


def add_to_the_pixels(folder: Path) -> None:
    (folder / PIXELS).write_bytes((folder / PIXELS).read_bytes() + b"\x00")


def remove_the_pixels(folder: Path) -> None:
    (folder / PIXELS).unlink()


def cut_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-10])


def flip_a_bit_of_the_manifest(folder: Path) -> None:
    content = bytearray((folder / MANIFEST).read_bytes())
    content[200] ^= 1
    (folder / MANIFEST).write_bytes(content)


def empty_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"")


def rename_an_image(folder: Path) -> None:
    table = pq.read_table(folder / MANIFEST)
    names = ["another", *table["id"].to_pylist()[1:]]
    pq.write_table(table.set_column(0, table.schema.field(0), [names]), folder / MANIFEST)


def forget_the_ids(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / MANIFEST).drop_columns("id"), folder / MANIFEST)


@pytest.mark.parametrize(
    "damage",
    [
        *(flip_a_pixel, cut_the_pixels, add_to_the_pixels, remove_the_pixels),
        *(cut_the_manifest, flip_a_bit_of_the_manifest, empty_the_manifest, rename_an_image, forget_the_ids),
    ],
)
@pytest.mark.parametrize("memory_limit", [1.0, ON_DISK], ids=["in memory", "on the disk"])
def test_a_damaged_store_is_noticed_and_made_again(tmp_path: Path, store: Load, caplog, damage, memory_limit):
    whole = store(Film())
    damage(the_store(tmp_path))
    film = Film()
    again = store(film, memory_limit=memory_limit)
    assert film.reads == NUM
    assert np.array_equal(again.pixels[:], whole.pixels)
    assert (again.ids, again.fingerprint) == (whole.ids, whole.fingerprint)
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "is damaged" in warning.getMessage()
    assert "\n" not in warning.getMessage()


def test_a_full_disk_is_one_clear_line(store: Load):
    def full(_: int) -> np.ndarray:
        raise OSError(errno.ENOSPC, "No space left on device")

    film = Film()
    film.replace_read(full)
    with pytest.raises(UserError, match=r"the disk is full.*stage_dir=DIR.*what is decoded so far stays") as error:
        store(film)
    assert "\n" not in str(error.value)


def test_a_disk_that_is_too_small_is_told_before_anything_is_decoded(tmp_path: Path, store: Load, monkeypatch):
    film = Film()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=NUM * 48))  # no room for the header
    with pytest.raises(UserError, match=r"^the disk is full.*data\.limit$"):
        store(film)
    assert film.reads == 0
    assert folders(tmp_path) == []
    monkeypatch.undo()
    assert len(store(film).ids) == NUM
