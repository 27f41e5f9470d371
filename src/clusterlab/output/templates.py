"""The Jinja templates beside this file, set up so that every text in them is escaped and every gap is an error."""

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from clusterlab.output import words
from clusterlab.output.safe_text import safe_text


def template(name: str, **filters: Callable[..., str]) -> Template:
    """Return the template `name`, `filters` in the place of those of the same name."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": words.duration,
        "percent": words.percent,
        "counted": words.counted,
        "decimal": words.decimal,
        "short": words.short_number,
        "inert": safe_text,
    } | filters
    return environment.get_template(name)
