"""No image of a set that stays on the disk is used unchecked: who may touch the file of an array by itself."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
NAMES = frozenset({"memmap", "open_memmap", "mmap_mode", "fromfile", "preadv"})
"""By which numpy and Python read a part of a file, or map it, and know nothing of checksums."""
MAY = {
    "clusterlab/data/rows_on_disk.py": "compares with checksums",
    "clusterlab/data/store.py": "looks at a header, and compares with checksums",
    "clusterlab/data/sources/arrays.py": "looks at the header of somebody's file",
    "clusterlab/data/sources/stl10.py": "reads somebody's files as a whole",
}
FILES = {path.relative_to(SRC).as_posix(): path for path in sorted(SRC.rglob("*.py"))}


def touches_files_of_arrays(source: str) -> bool:
    return any(
        {getattr(node, name, None) for name in ("attr", "arg", "id", "name", "value")} & NAMES
        for node in ast.walk(ast.parse(source))
        if not isinstance(node, ast.Constant) or isinstance(node.value, str)
    )


@pytest.mark.parametrize("name", FILES)
def test_only_what_compares_with_checksums_touches_the_file_of_an_array(name):
    assert touches_files_of_arrays(FILES[name].read_text(encoding="utf-8")) == (name in MAY)


@pytest.mark.parametrize(
    "source",
    [
        "np.memmap(path)",
        "from numpy import memmap",
        "np.load(path, mmap_mode='r')",
        "np.load(path, **{'mmap_mode': 'r'})",
        "np.lib.format.open_memmap(path)",
        "np.fromfile(path)",
        "isinstance(images.pixels, np.memmap)",
    ],
)
def test_a_way_past_the_checksums_would_be_found(source):
    assert touches_files_of_arrays(source)
