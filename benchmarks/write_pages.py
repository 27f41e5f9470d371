"""Writes the pages and pictures of the documentation whose figures come from runs.

    make results        or: python benchmarks/write_pages.py [--results DIR] [--docs DIR]

Each template in benchmarks/pages/ becomes the file of the same name in docs/. A template has one variable, `results`:
what each benchmarks/results/NAME.json holds, by NAME. A name or a key that is not there is an error, so that no page
has a gap; what may not have been run yet is asked for with `in`.
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

HERE = Path(__file__).parent
TEMPLATES, RESULTS, DOCS = HERE / "pages", HERE / "results", HERE.parent / "docs"
MADE_BY = "make benchmark"
"""The command that a file with the rows of a machine names."""


class PageError(Exception):
    """A template asks for what the results do not have; the message is one line."""


class Results(dict[str, Any]):
    """What the files hold, by their stems."""

    def __init__(self, folder: Path) -> None:
        found = sorted(folder.glob("*.json"))
        super().__init__((path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in found)
        self.folder = folder

    def __missing__(self, stem: str) -> Any:
        raise PageError(f"{self.folder / stem}.json is not there: run the command that makes it")


def machines(results: Results) -> dict[str, Any]:
    """The files that `make benchmark` wrote, one for each machine."""
    return {stem: file for stem, file in results.items() if file.get("command") == MADE_BY}


def growth(results: Results) -> Mapping[str, Any] | None:
    """The growth of the stages: of the first machine that `make benchmark` measured it on, or of growth.json."""
    measured = [file["growth"] | {"file": stem} for stem, file in machines(results).items() if file.get("growth")]
    return next(iter(measured), results["growth"] | {"file": "growth"} if "growth" in results else None)


def over(runs: Iterable[Mapping[str, Any]], path: str) -> list[float]:
    """The value at `path` of each run, such as acc, baseline.acc or stages.head.acc: of the stage of that name."""
    values = []
    for run in runs:
        value: Any = run
        for name in path.split("."):
            try:
                value = (
                    next(entry for entry in value if entry["name"] == name) if isinstance(value, list) else value[name]
                )
            except (KeyError, StopIteration) as error:
                raise PageError(f"a run of {run.get('method')} has no {path}") from error
        values.append(value)
    return values


def decimal(value: float) -> str:
    """Three decimals, with a proper minus."""
    return f"{value:.3f}".replace("-", "−")


def counted(value: float) -> str:
    """A whole number with commas."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Three significant digits, or as many as the whole number has."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip("0").rstrip(".")


def spread(values: Sequence[float]) -> str:
    """Median, lowest and highest; of one run its value."""
    middle = decimal(statistics.median(values))
    return f"{middle} ({decimal(min(values))} to {decimal(max(values))})" if len(values) > 1 else middle


def environment(templates: Path = TEMPLATES) -> Environment:
    """Jinja for Markdown: nothing is escaped, every gap is an error."""
    # Markdown and SVG of our own figures; nobody else's text comes in.
    made = Environment(
        loader=FileSystemLoader(templates), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    numbers = {"median": statistics.median, "mean": statistics.fmean, "lowest": min, "highest": max}
    formats = {"decimal": decimal, "counted": counted, "short": short, "spread": spread}
    made.filters |= numbers | formats | {"over": over, "machines": machines, "growth": growth}
    return made


def pages(results: Results, templates: Path = TEMPLATES) -> dict[str, str]:
    """The text of each page, by its path within docs/.

    Raises:
        PageError: a template asks for what is not there.
    """
    jinja, found = environment(templates), {}
    for path in sorted(templates.rglob("*.jinja")):
        name = path.relative_to(templates).as_posix()
        try:
            found[name.removesuffix(".jinja")] = jinja.get_template(name).render(results=results)
        except (PageError, TemplateError) as error:
            raise PageError(f"{path}: {error}") from error
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="the files of figures (default: %(default)s)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the pages go (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        written = pages(Results(arguments.results))
    except PageError as error:
        raise SystemExit(str(error)) from error
    for name, text in written.items():
        path = arguments.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path} written")


if __name__ == "__main__":
    main()
