"""Each test here stands in the table of docs/reliability.md: under its module's first line, by its own first line."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from here import Here, SmallDisk

from command_line import SMALL, SMALL_KMEANS
from killed import run


def first_line(thing) -> str:
    return thing.__doc__.strip().splitlines()[0].rstrip(".")


@pytest.fixture(autouse=True)
def what(request, record_property):
    record_property("group", first_line(request.module))
    record_property("what", first_line(request.function))


@pytest.fixture
def tried(record_property):
    """`tried(times)`: how many cases this one test went through, if more than one."""
    return lambda times: record_property("times", times)


@pytest.fixture(scope="session")
def kills(request):
    """How often each method is killed."""
    return request.config.getoption("--kills")


@pytest.fixture(scope="session")
def kill_seed(request):
    """Decides the moments."""
    return request.config.getoption("--kill-seed")


@dataclass(frozen=True)
class Whole:
    """An unbroken run, and what it took."""

    method: str
    words: tuple[str, ...]
    folder: Path
    seconds: float
    changes: int
    """Of files."""
    steps: int
    """Of training."""
    table: bytes

    def results(self, folder: Path) -> Path:
        return folder / "outputs" / "digits" / self.method / "0"


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """`unbroken(method)`: one for all tests of a session."""
    known: dict[str, Whole] = {}

    def make(method: str) -> Whole:
        if method not in known:
            folder = tmp_path_factory.mktemp(f"unbroken-{method}")
            words = SMALL_KMEANS if method == "kmeans" else SMALL[method]
            if not known:  # the process that all are forked from starts with the first one
                (warm := folder / "warm").mkdir()
                run(warm, "--version")
            ended = run(folder, *words)
            assert ended.code == 0, ended.output
            counts = {what: ended.counted(what) for what in ("changes", "steps")}
            table = (folder / "outputs" / "digits" / method / "0" / "assignments.csv").read_bytes()
            known[method] = Whole(method, words, folder, ended.seconds, table=table, **counts)
        return known[method]

    return make


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A finished run, and one of another seed, whose files can be mistaken for its."""
    here = Here(tmp_path_factory.mktemp("digits"))
    here.run()
    here.run("seed=1")
    return here


@pytest.fixture
def copied(digits_run, tmp_path):
    """A copy of that run, which may be damaged."""
    shutil.copytree(digits_run.folder / "outputs", tmp_path / "outputs")
    return Here(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    disk = SmallDisk(tmp_path / "disk")
    disk.place.mkdir()
    if not disk.mount():
        pytest.skip("a small disk can only be mounted by root, with the right to mount")
    yield disk
    disk.unmount()


@pytest.fixture
def read_only(tmp_path, request):
    """A folder in which nothing can be written, not even by root."""
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o555)
        return tmp_path / "closed"
    disk = request.getfixturevalue("small_disk")
    disk.refuse_to_write()
    return disk.place
