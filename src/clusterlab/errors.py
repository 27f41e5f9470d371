"""Errors that a person can put right.

The command line shows a `UserError` as one line and ends with exit code 2; every other exception is a
defect of clusterlab and keeps its traceback.
"""


class UserError(Exception):
    """One clear line: what is wrong, which values exist, what to change."""
