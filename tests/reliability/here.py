"""The command in the process of the test, because starting one costs seconds; a small disk, and what damages a file."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from clusterlab.__main__ import main
from clusterlab.errors import TOLD
from command_line import SMALL

STAGES = Path("outputs", "stages")
RUN = Path("outputs", "digits", "scan", "0")
IMAGES = "images"
MEGABYTE = 2**20


class Here:
    """`python -m clusterlab …` in a folder of its own; an error that a person would see as a traceback is raised."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, code: int = 0) -> str:
        """Return what is said, after seeing that the command ends with `code`."""
        said, ended = io.StringIO(), 0
        typed = mock.patch.object(sys, "argv", ["clusterlab", *words])
        with chdir(self.folder), typed, redirect_stdout(said), redirect_stderr(said):
            try:
                main()
            except SystemExit as end:
                ended = end.code
        assert ended == code, said.getvalue()
        return said.getvalue()

    def run(self, *words: str) -> str:
        return self(*SMALL["scan"], *words)

    def refusal(self, *words: str) -> str:
        """Return the one line in which the command says what a person has to put right."""
        output = self(*words, code=2)
        assert "Traceback" not in output
        (line,) = (line for line in output.splitlines() if line.startswith(TOLD))
        return line

    def outcome(self, run_dir: Path = RUN) -> bytes:
        return (self.folder / run_dir / "assignments.csv").read_bytes()


def files_below(folder: Path) -> list[Path]:
    """Every file, except locks: whatever a run comes to leave is in the list by itself."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return sorted(path.relative_to(folder) for path in found)


def contents(folder: Path) -> dict[Path, bytes]:
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def artifacts_of(here: Here, run_dir: Path = RUN) -> list[Path]:
    """The folders of the artifacts of a run."""
    stages = json.loads((here.folder / run_dir / "metrics.json").read_text())["stages"]
    return [here.folder / STAGES / "-".join(stage[name] for name in ("name", "part", "key")) for stage in stages]


def artifacts(stages: Path) -> list[Path]:
    return [path for path in stages.iterdir() if path.is_dir() and path.name != IMAGES and path.suffix != ".work"]


class SmallDisk:
    """A disk of four megabytes, which only root may make, mounted at `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ballast = place / "ballast"

    def mount(self) -> bool:
        words = ["mount", "-t", "tmpfs", "-o", f"size={4 * MEGABYTE}", "tmpfs", str(self.place)]
        try:
            return not subprocess.run(words, capture_output=True, check=False).returncode
        except OSError:
            return False

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.place], check=True)

    def leave(self, room: int) -> None:
        """Fill it up to `room` bytes."""
        self.ballast.unlink(missing_ok=True)
        free = shutil.disk_usage(self.place).free
        with self.ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - room)

    def refuse_to_write(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.place], check=True)


def flip(position: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position(len(content))] ^= 1 << random.Random(len(content)).randrange(8)
        path.write_bytes(content)

    return damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def fill_with_noise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "first byte": flip(lambda size: 0),
    "middle byte": flip(lambda size: size // 2),
    "last byte": flip(lambda size: size - 1),
    "any byte": flip(lambda size: random.Random(size).randrange(size)),
    "one byte less": cut,
    "half of it": halve,
    "one byte more": lengthen,
    "empty": empty,
    "noise": fill_with_noise,
    "missing": Path.unlink,
    "a folder": put_folder,
}
