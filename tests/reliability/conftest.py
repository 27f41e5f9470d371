"""Each test here stands in the table of docs/reliability.md: under its module's first line, by its own first line."""

import pytest


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
