"""Pieces of photographs, and Pillow as the reference."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import Tensor

#: (side, channels) that operations are compared on: powers of two, others, colour and grey.
SHAPES = [(32, 3), (16, 1), (96, 3), (33, 1)]


def to_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())


def from_pil(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On tensors as small as these a second thread mostly waits, on a busy machine for very long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def photographs() -> Callable[[int, int, int], Tensor]:
    """`photographs(count, side, channels)`: uint8 squares of two photographs; the last ones are flat or noise."""
    photos = load_sample_images().images

    def pieces(count: int, side: int, channels: int = 3) -> Tensor:
        rng = np.random.default_rng(side)
        images = []
        for index in range(count):
            photo = photos[index % 2]
            extent = int(rng.integers(side, 400))
            top, left = (int(rng.integers(0, limit - extent)) for limit in photo.shape[:2])
            piece = Image.fromarray(photo[top : top + extent, left : left + extent]).resize((side, side))
            images.append(from_pil(piece if channels == 3 else piece.convert("L")))
        batch = torch.stack(images)
        batch[-1] = torch.from_numpy(rng.integers(0, 256, batch[-1].shape, dtype=np.uint8))
        batch[-2] = 77
        batch[-3, :, : side // 2] = 255
        return batch

    return pieces


@pytest.fixture(scope="session")
def by_pil() -> Callable[..., Tensor]:
    """`by_pil(images, operation, *parameters)`: `operation(PIL image, a number of each parameter)` on each image."""

    def run(images: Tensor, operation: Callable[..., Image.Image], *parameters: Tensor) -> Tensor:
        rows = zip(images, *(parameter.tolist() for parameter in parameters), strict=True)
        return torch.stack([from_pil(operation(to_pil(image), *values)) for image, *values in rows])

    return run


@pytest.fixture(params=SHAPES, ids=lambda shape: f"{shape[0]}px-{shape[1]}channels")
def images(request: pytest.FixtureRequest, photographs: Callable[..., Tensor]) -> Tensor:
    side, channels = request.param
    return photographs(24, side, channels)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
