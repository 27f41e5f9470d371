"""Each test here stands in the table of docs/reliability.md: under its module's first line, by its own first line."""

import os

import pytest
from here import Here, SmallDisk


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
def digits_run(tmp_path_factory):
    """A finished run, and one of another seed, whose files can be mistaken for its."""
    here = Here(tmp_path_factory.mktemp("digits"))
    here.run()
    here.run("seed=1")
    return here


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
