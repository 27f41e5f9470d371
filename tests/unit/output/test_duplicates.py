from pathlib import Path

import numpy as np
import pytest
from on_disk import on_disk

from clusterlab.output.duplicates import Twins, first_twins


def images(n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 4, 4), dtype=np.uint8)


def test_different_images_have_no_twin():
    assert first_twins(images()).tolist() == [-1] * 6


def test_every_later_copy_names_the_first():
    pixels = images()
    pixels[[3, 5]] = pixels[1]
    pixels[4] = pixels[0]
    assert first_twins(pixels).tolist() == [-1, -1, -1, 1, 0, 1]


def test_one_pixel_makes_another_image_even_off_the_middle_row():
    pixels = images()
    pixels[4] = pixels[2]
    pixels[4, 2, 0, 0] ^= 1
    assert first_twins(pixels).tolist() == [-1] * 6


def test_images_on_the_disk_have_the_same_twins_and_none_is_read(tmp_path: Path):
    pixels = images()
    pixels[[3, 5]] = pixels[1]
    stored = on_disk(pixels, tmp_path / "x.npy")
    stored.path.write_bytes(b"")
    assert first_twins(stored).tolist() == first_twins(pixels).tolist() == [-1, -1, -1, 1, -1, 1]


def test_images_that_come_one_by_one_have_the_same_twins_as_images_at_once():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 2, (300, 1, 2, 3), dtype=np.uint8)  # 64 different ones
    twins = Twins()
    found = [twins.first(image, str(i)) for i, image in enumerate(pixels)]
    twins.close()
    assert found == ["" if twin < 0 else str(twin) for twin in first_twins(pixels).tolist()]
    assert len(set(found)) > 50


def test_a_disk_without_room_for_the_digests_is_an_error_of_the_system():
    twins = Twins()
    twins._seen.execute("PRAGMA max_page_count = 3")
    different = (np.array([[[i // 256, i % 256]]], dtype=np.uint8) for i in range(1000))
    with pytest.raises(OSError, match="full"):
        list(map(twins.first, different, ["x" * 100] * 1000))
