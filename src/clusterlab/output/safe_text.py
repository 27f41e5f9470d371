r"""File names and class names as text that is safe to write, show and open in a spreadsheet.

A file may be called almost anything: `=cmd|' /C calc'!A0.jpg` is a formula to a spreadsheet, a line break
tears a table, a name that is not UTF-8 cannot be written at all. Two reversible changes make every name
inert, and leave all ordinary names as they are:

- a name that starts like a formula gets `./` in front: for a path below the root that is the same file;
- control characters, characters that reverse the reading direction, bytes that are not UTF-8, `;` (a column
  separator where commas are decimal points) and the backslash become `\uXXXX`.
"""

import re

_CONTROL = "\\x00-\\x1f\\x7f-\\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(f"[{_CONTROL};\\\\]")
_UNPRINTABLE = re.compile(f"[{_CONTROL}]")
# ＝＋－＠ are the full-width forms, which spreadsheets read alike.
_PREFIXED = re.compile(r"\./|\s*[=+\-@＝＋－＠]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def safe_text(name: str) -> str:
    """Return the inert form of `name`."""
    escaped = _UNSAFE.sub(_escape, name)
    return f"./{escaped}" if _PREFIXED.match(escaped) else escaped


def one_line(message: str) -> str:
    """Return a message that may hold names of files as a single line that does nothing to a terminal."""
    return _UNPRINTABLE.sub(_escape, message)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def original_text(text: str) -> str:
    """Return the name that `safe_text` made `text` of."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text.removeprefix("./"))
