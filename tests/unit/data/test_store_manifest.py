import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from film import Film

from clusterlab.data import store_manifest
from clusterlab.data.rows_on_disk import sha256_of
from clusterlab.data.store_manifest import Manifest, read_manifest, write_manifest

NUM = 50


def manifest_of(film: Film) -> Manifest:
    kept = [i for i in range(len(film)) if i not in film.broken]
    return Manifest(
        shape=film.originals.shape,
        ids=tuple(film.originals.ids[i] for i in kept),
        splits=tuple(film.originals.splits[i] for i in kept),
        sha256=np.stack([np.frombuffer(sha256_of(film.pixels(i)), dtype=np.uint8) for i in kept]),
        unreadable=tuple((film.originals.ids[i], "torn") for i in film.broken),
    )


@pytest.fixture(params=[2**16, 7], ids=["in one part", "in several parts"])
def written(request, monkeypatch, tmp_path):
    monkeypatch.setattr(store_manifest, "PART", request.param)
    film = Film(num=NUM, broken=(0, 20))
    write_manifest(tmp_path / "table", manifest_of(film), film.originals, range(NUM))
    return film, tmp_path / "table"


def test_what_is_written_is_read(written):
    film, path = written
    read, known = read_manifest(path), manifest_of(film)
    assert (read.shape, read.ids, read.splits, read.unreadable) == (
        known.shape, known.ids, known.splits, known.unreadable,
    )  # fmt: skip
    assert np.array_equal(read.sha256, known.sha256)
    assert read.fingerprint == known.fingerprint


def test_the_table_has_a_row_for_every_chosen_image_with_its_stamp_and_checksum(written):
    film, path = written
    rows = pq.read_table(path).to_pylist()
    assert [row["id"] for row in rows] == list(film.originals.ids)
    assert [row["split"] for row in rows] == list(film.originals.splits)
    assert [json.loads(row["stamp"]) for row in rows] == [list(stamp) for stamp in film.originals.stamps]
    assert [row["unreadable"] for row in rows] == ["torn" if i in film.broken else None for i in range(NUM)]
    for i, row in enumerate(rows):
        assert row["sha256"] == (None if i in film.broken else sha256_of(film.pixels(i)))


def test_other_pixels_of_one_image_do_not_agree():
    film = Film(num=NUM)
    pixels = np.stack([film.pixels(i) for i in range(NUM)])
    manifest = manifest_of(film)
    assert manifest.agrees(pixels, range(NUM))
    pixels[30, 2, 3, 3] ^= 1
    assert manifest.agrees(pixels, [29, 31])
    assert not manifest.agrees(pixels, [30])


def test_every_byte_of_what_is_read_is_protected(tmp_path):
    film = Film(num=NUM, broken=(3,))
    path = tmp_path / "table"
    write_manifest(path, manifest_of(film), film.originals, range(NUM))
    content, known = path.read_bytes(), read_manifest(path)
    noticed = 0
    for place in range(4, len(content) - 8, 97):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            read = read_manifest(path)
        except Exception:
            noticed += 1
        else:  # it was of no consequence: statistics, or the stamps
            assert (read.ids, read.splits, read.unreadable) == (known.ids, known.splits, known.unreadable)
            assert read.fingerprint == known.fingerprint
    assert noticed > 0
