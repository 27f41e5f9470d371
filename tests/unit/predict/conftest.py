import numpy as np
import pytest
from PIL import Image
from small_model import write_small_model


@pytest.fixture
def run_dir(tmp_path):
    return write_small_model(tmp_path / "run")


@pytest.fixture
def photos(tmp_path):
    """Eleven images in a tree, the last with the pixels of the third."""
    root = tmp_path / "photos"
    generator = np.random.default_rng(0)
    for number in range(10):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    Image.open(root / "a" / "2.png").save(root / "same.bmp")
    return root
