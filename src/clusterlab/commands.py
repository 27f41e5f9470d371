"""The commands that are no runs: the first word of `python -m clusterlab WORD …`, before Hydra sees any.

Settings of a run are written name=value, so none of them can be such a word.
"""

import importlib
import sys
from collections.abc import Sequence

from clusterlab import stopping
from clusterlab.errors import MISTAKE, UserError, tell
from clusterlab.output.safe_text import one_line

MODULES = {
    "predict": "clusterlab.predict.command",
    "export": "clusterlab.export.command",
    "doctor": "clusterlab.doctor.command",
    "help": "clusterlab.help",
}
"""Word → module with `main(words)`, which is imported when the word is typed.

The first line of its docstring stands in the help: "`python -m clusterlab WORD …`: what it does."
"""
HELP_OPTIONS = frozenset({"--help", "-h"})


def run(name: str, words: Sequence[str]) -> None:
    """Run the command; a person's mistake is one line and exit code 2."""
    try:
        with stopping.not_swallowed():
            importlib.import_module(MODULES[name]).main(list(words))
    except UserError as error:
        tell(one_line(" ".join(str(error).split())))
        sys.exit(MISTAKE)
    except stopping.Stopped as stop:
        tell(stopping.how_to_go_on(kept=False))
        sys.exit(stop.code)
