"""Writes class folders as ImageNet has them, and shards."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from shard_files import encoded, write_shard

from clusterlab.data.imagenet import LISTS, read_class_list

OFFICIAL = ("ILSVRC2012_img_train", "ILSVRC2012_img_val")


@pytest.fixture
def write_classes(write_image: Callable[..., Path]) -> Callable[..., None]:
    """Write two training images and one validation image of each class; None: without that part."""

    def write(root: Path, wnids: Iterable[str], folders: tuple[str | None, str | None] = OFFICIAL) -> None:
        for wnid in wnids:
            for folder, count in zip(folders, (2, 1), strict=True):
                for i in range(count if folder else 0):
                    write_image(root / str(folder) / wnid / f"{wnid}_{i}.JPEG", (12, 9))

    return write


@pytest.fixture
def listed() -> Callable[[str], list[str]]:
    """Give the wnids of a packaged list, as they stand in its file."""

    def wnids(name: str) -> list[str]:
        classes = read_class_list(LISTS / f"{name}.txt")
        lines = (LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("#")
        assert any("Source: " in line and "https://" in line for line in lines)
        assert [line.split()[0] for line in lines if not line.startswith("#")] == list(classes)
        return list(classes)

    return wnids


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with three shards, two of which are for training: five images of classes 7 and 3."""
    root = tmp_path / "shards"
    labels = iter((7, 3, 7, 3, 3))
    numbers = iter(range(5))
    for name, count in (("train-000000", 2), ("train-000001", 1), ("test-000000", 2)):
        samples = [
            {"__key__": f"{name}/{i}", "png": encoded(next(numbers)), "cls": b"%d\n" % next(labels)}
            for i in range(count)
        ]
        write_shard(root / f"{name}.tar", *samples)
    return root
