"""Sees that a YAML file from elsewhere does not become larger than it looks, before anything is made of it.

A value with a name (`&a`) counts wherever it is meant (`*a`), so a few lines of nine names, each for nine times the one
before, are hundreds of millions of values. They are counted without being made.
"""

from pathlib import Path

import yaml

from clusterlab.errors import UserError

MOST_BYTES = 2**20
MOST_VALUES = 20_000
"""The largest config of ours has 200; `names.yaml` has two for each cluster."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML has its parser in C."""
DEEPEST = 50
"""How many mappings and lists lie within each other."""


def see_size(path: Path) -> None:
    """Look at a file as it is parsed, and no further than the limits.

    A file that is no YAML is left to whoever reads it.

    Raises:
        UserError: it is larger, holds more values or is nested deeper than any that a person writes.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES} bytes, the limit for a YAML file: make it smaller")
    try:
        found = _too_much(content)
    except (yaml.YAMLError, ValueError):
        return
    if found:
        raise UserError(f"{path} {found}: take them out, or write out what you need of it")


def _too_much(content: bytes) -> str:
    """Return what there is too much of, nothing if all is within the limits."""
    open_ones: list[tuple[str | None, int]] = []
    """The name of each collection that is not over, and how many values had come before it."""
    named: dict[str, int] = {}
    count = 0
    for event in yaml.parse(content, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            if any(event.anchor == name for name, _ in open_ones):
                return f"holds a value that holds itself (*{event.anchor})"
            count += named.get(str(event.anchor), 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_ones.pop()
            if name is not None:
                named[name] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if event.anchor is not None:
                named[event.anchor] = 1
        if count > MOST_VALUES:
            return f"holds more than {MOST_VALUES} values, counted wherever an alias (*name) repeats them"
        if len(open_ones) > DEEPEST:
            return f"has more than {DEEPEST} lists or mappings within each other"
    return ""
