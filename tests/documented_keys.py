"""What docs/dashboards.md names in the first columns of its tables, and what a run wrote beside that."""

import re
from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "dashboards.md"
PLACES = {"STAGE": "[a-z]+", "PACKAGE": "[a-z_]+", "SCORE": "(acc|nmi|ari|many_to_one)"}
SAME_AS = {"adapted": "head", "oracle": "student"}
"""Stages of which the page says that they have the scalars of another."""


def documented() -> set[str]:
    """The keys, a few with a word of PLACES in them."""
    rows = re.findall(r"^\| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {key for cell in rows for key in re.findall(r"`([^`]+)`", cell)} - {"STAGE/NAME"}


def undocumented(keys: Iterable[str]) -> set[str]:
    """Those of `keys` that the page does not name."""
    patterns = []
    for key in documented():
        pattern = re.escape(key)
        for place, stands_for in PLACES.items():
            pattern = pattern.replace(place, stands_for)
        patterns.append(pattern)
    known = re.compile("|".join(patterns))

    def is_known(key: str) -> bool:
        stage, _, name = key.partition("/")
        return any(known.fullmatch(some) for some in (key, f"{SAME_AS.get(stage, stage)}/{name}"))

    return {key for key in keys if not is_known(key)}
