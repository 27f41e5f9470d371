"""Writes shards: as the library webdataset does, and as a hostile hand may."""

import io
import tarfile
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from clusterlab.data.decode import decode_file


def encoded(number: int, suffix: str = "png") -> bytes:
    """An image that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg", "ppm": "ppm"}.get(suffix, suffix))
    return buffer.getvalue()


def write_shard(path: Path, *samples: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def write_tar(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """Write a tar file as nobody's library would: names as they are; text as content makes a link to that text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def decoded(tmp_path: Path, content: bytes, size: int = 8) -> np.ndarray:
    (tmp_path / "one").write_bytes(content)
    return decode_file(tmp_path / "one", size)
