"""`python -m clusterlab doctor`: says what is installed, what the machine has, and what is wrong with it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from clusterlab.arguments import Parser
from clusterlab.doctor.facts import Facts


def main(words: Sequence[str]) -> None:
    """Print what was found; exit code 1 if something is wrong.

    Raises:
        UserError: a word is not known.
    """
    arguments = _parser().parse_args(words)
    from clusterlab.doctor.hints import hints
    from clusterlab.doctor.page import page
    from clusterlab.doctor.problems import problems

    facts = look(arguments.stage_dir)
    wrong, told = problems(facts), hints(facts)
    if arguments.json:
        print(json.dumps({"facts": asdict(facts), "hints": told, "problems": wrong}, indent=2))
    else:
        print(page(facts, wrong, told))
    if wrong:
        sys.exit(1)


def look(stage_dir: Path | None) -> Facts:
    """Return the facts of this machine; `stage_dir` None: the usual one. Imports torch, faiss and wandb."""
    from clusterlab.doctor import machine, packages

    return Facts(
        installation=packages.installation(),
        torch=machine.torch(),
        faiss=packages.faiss(),
        machine=machine.machine(),
        disk=machine.disk(stage_dir or machine.usual_stage_dir()),
        wandb=packages.wandb(),
        points=tuple(packages.points()),
    )


def _parser() -> Parser:
    parser = Parser(
        prog="python -m clusterlab doctor",
        description="Look at this machine and the installation. Exit code 0: nothing is wrong; 1: something is. "
        "Nothing is changed, and nothing goes over the network.",
    )
    parser.add_argument("--json", action="store_true", help="for programmes: facts, hints and problems")
    parser.add_argument("--stage-dir", type=Path, metavar="DIR", help="that runs will be given (outputs/stages)")
    return parser
