from pathlib import Path

import numpy as np

from clusterlab.output.duplicates import first_twins


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


def test_a_memory_map_gives_the_same(tmp_path: Path):
    pixels = images()
    pixels[5] = pixels[0]
    np.save(tmp_path / "x.npy", pixels)
    assert first_twins(np.load(tmp_path / "x.npy", mmap_mode="r")).tolist() == first_twins(pixels).tolist()
