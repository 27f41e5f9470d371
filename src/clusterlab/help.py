"""`python -m clusterlab help [GROUP or GROUP=NAME]`: this page, what a group holds, or every setting of a choice.

It reads the folders of the configs and imports nothing of what they configure, nor Hydra.
"""

import argparse
import importlib
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from textwrap import TextWrapper

from clusterlab import commands
from clusterlab.arguments import Parser
from clusterlab.choices import choices, config_folder, file_of
from clusterlab.errors import UserError
from clusterlab.other_packages import config_folders
from clusterlab.registry import nearest

WIDTH = 100
EXAMPLES = {
    "": "SCAN on the digits inside scikit-learn: a minute or two, no download",
    "method=spice data=cifar10 data.root=DIR": "another method, a known dataset",
    "data=folder data.root=photos num_clusters=12": "your own images; no labels needed (GPU)",
    "experiment=scan_folder_cpu data.root=photos num_clusters=12": "the same, short enough for a CPU",
    "head.entropy_weight=2 seed=3": "any setting, as name=value",
    "-m method=scan,kmeans seed=0,1,2": "a sweep: every combination, and a table at the end",
}
"""Words → what they do."""
WORDS = {
    "data.root=DIR": "where the images or archives of the dataset lie",
    "num_clusters=N": "how many groups to find; auto: as many as the features speak for",
    "seed=N": "of all random draws: the same seed, the same clusters",
    "run_dir=DIR": "where report.html, assignments.csv and the model go (outputs/DATA/METHOD/SEED)",
    "stage_dir=DIR": "where finished stages are kept and found again (outputs/stages)",
    "trainer=NAME": "auto: a GPU where there is one; cpu; ddp: every GPU; smoke: a few steps of everything, as a trial",
    "logger=NAME": "dashboard: wandb, tensorboard, csv or none",
    "wandb.mode=MODE": "auto: online where a key is known, else offline; online, offline, disabled",
    "debug=true": "show the traceback of an error",
}
"""The settings that matter most."""
GROUPS = ("method", "experiment", "data", "features", "head", "head.adapt", "student", "backbone", "trainer")
"""In the order of a newcomer's questions; groups of other packages come after them."""


def main(words: Sequence[str]) -> None:
    """Print what `words` ask for; settings of a run among them do not matter.

    Raises:
        UserError: a word is no group, or names no choice of its group.
    """
    parser = Parser(prog="python -m clusterlab help", add_help=False)
    parser.add_argument("--config-dir", "-cd", type=Path, help=argparse.SUPPRESS)  # Hydra's option
    options, rest = parser.parse_known_args(words)
    if rest and rest[0] in commands.HELP_OPTIONS:
        rest = rest[1:]
    if rest and rest[0] in commands.MODULES and rest[0] != "help":
        commands.run(rest[0], ["--help"])
        return
    folders = [*filter(None, [options.config_dir]), config_folder(), *config_folders().values()]
    known = choices(folders)
    asked = [text for word in rest if not word.startswith("-") for text in _answers(word, known, folders)]
    print("\n\n".join(asked) if asked else page(known))


def page(known: Mapping[str, Sequence[str]]) -> str:
    """Return the help for a newcomer; `known` is what there is to choose: group → names."""
    groups = {name: known[name] for name in sorted(known, key=_rank)}
    about = {name: _about(module) for name, module in commands.MODULES.items()}
    parts = [
        "clusterlab groups images without labels: python -m clusterlab NAME=VALUE …",
        "\n".join(f"  {f'python -m clusterlab {words}'.rstrip()}\n      {does}" for words, does in EXAMPLES.items()),
        "The same command again goes on where it stopped; finished stages are loaded, not made again.",
        "What to choose, as GROUP=NAME; `help GROUP` says what each is, `help GROUP=NAME` shows its settings:",
        _table({group: ", ".join(names) for group, names in groups.items()}),
        "Settings that matter most; `--cfg job` prints every setting of a command with its value:",
        _table(WORDS),
        "Commands that are no runs; `COMMAND --help` says more:",
        _table(about),
        f"Documentation: {_documentation()}. Hydra's own options: --hydra-help. Version: --version.",
    ]
    return "\n\n".join(parts)


def _answers(word: str, known: Mapping[str, Sequence[str]], folders: Sequence[Path]) -> list[str]:
    """Return what is to be said of one word: nothing of a setting."""
    place, is_choice, names = word.partition("=")
    group = place.split("@")[0]  # backbone@student.backbone=wrn
    if group not in known:
        if is_choice:
            return []
        raise UserError(f"{word} is no group of choices{nearest(word, list(known))}; groups: {', '.join(known)}")
    if not is_choice:
        return [_table({f"{group}={name}": _first_sentence(file_of(group, name, folders)) for name in known[group]})]
    return [_settings(group, name, known, folders) for name in names.strip("[]").split(",")]


def _settings(group: str, name: str, known: Mapping[str, Sequence[str]], folders: Sequence[Path]) -> str:
    path = file_of(group, name, folders)
    if path is None:
        names = list(known[group])
        raise UserError(f"{group}={name} is not known{nearest(name, names)}; choices: {', '.join(names)}")
    return f"{group}={name} is {path}:\n\n{path.read_text(encoding='utf-8').rstrip()}"


def _first_sentence(path: Path | None) -> str:
    """Return that of the comment at the top of a config."""
    lines = [] if path is None else path.read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]
    text = " ".join(line for line in comment if not line.startswith("@package"))
    return text.split(". ")[0].rstrip(".:")


def _about(module: str) -> str:
    """Return what a command's docstring says that it does."""
    first = (importlib.import_module(module).__doc__ or "").splitlines()[0]
    return first.partition("`: ")[2].rstrip(".")


def _rank(group: str) -> tuple[int, str]:
    return (GROUPS.index(group) if group in GROUPS else len(GROUPS), group)


def _table(rows: Mapping[str, str]) -> str:
    """Return rows of two columns, the second wrapped."""
    width = max(map(len, rows))
    wrapper = TextWrapper(WIDTH, subsequent_indent=" " * (width + 4), break_long_words=False, break_on_hyphens=False)
    lines = []
    for left, right in rows.items():
        wrapper.initial_indent = f"  {left.ljust(width)}  "
        lines.append(wrapper.fill(right) or wrapper.initial_indent.rstrip())
    return "\n".join(lines)


def _documentation() -> str:
    docs = config_folder().parent / "docs"
    return str(docs) if docs.is_dir() else "the README and docs/ of the source"
