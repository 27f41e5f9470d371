"""Reads the words of a command that is no run."""

import argparse
from typing import NoReturn

from clusterlab.errors import UserError


class Parser(argparse.ArgumentParser):
    """Says of a mistyped command one line, as every other mistake is said."""

    def error(self, message: str) -> NoReturn:
        """Refuse the words."""
        raise UserError(f"{message}; see {self.prog} --help")
