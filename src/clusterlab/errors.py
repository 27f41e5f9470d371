"""Errors that a person can put right.

The command line shows a `UserError` as one line and ends with exit code 2; every other exception is a
defect of clusterlab and keeps its traceback.
"""


class UserError(Exception):
    """One clear line: what is wrong, which values exist, what to change."""


MISTAKE = 2
"""The exit code of a command that a person has to put right."""
TOLD = "clusterlab: "
"""What its one line begins with."""
