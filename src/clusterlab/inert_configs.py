"""Sees that a config which somebody else wrote runs no code.

The settings of parts are names and values, so they cannot. Hydra's own can: it calls what `_target_` names in its
callbacks, its sweeper and its launcher, what its logging names, and hands variables to other programmes. What the
person has typed is left alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clusterlab.errors import UserError

CALLING = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
"""Hydra's settings in which something is named that it calls."""
CALLED = re.compile(
    r"(hydra\._internal\.core_plugins|hydra_plugins|optuna\.(samplers|pruners))(\.\w+)+"
    r"|logging\.(StreamHandler|NullHandler|Formatter)|colorlog\.ColoredFormatter"
)
"""What may be named: sweepers, launchers, the samplers of searches, and logging that writes no file."""
NAMING = ("_target_", "()", "class", "custom_search_space")
"""Keys whose value names something to call."""
SHELL = ("setup", "teardown", "python")
"""Settings of launchers that a shell runs."""
INDIRECT = re.compile(r"\$\{(?!hydra(\.\w+)+\}$).*|(ext|cfg)://(?!sys\.std(out|err)$).*", re.DOTALL)
"""What is another value only once it is resolved."""


def see_inert(hydra: Mapping[str, Any], words: Sequence[str]) -> None:
    """Look at Hydra's own settings, not yet resolved; `words` are those of the command.

    Raises:
        UserError: one of them, which was not typed, would run something, or may do so once it is resolved.
    """
    callbacks = [f"callbacks.{name}" for name in hydra["callbacks"] or ()]
    variables = [f"job.env_set.{name}" for name in hydra["job"]["env_set"] or ()]
    suspicious = [
        place for section in CALLING for place, value in _below(hydra[section], section) if _runs(place, value)
    ]
    typed = [word.lstrip("+").partition("=")[0].replace("hydra/", "hydra.") for word in words]
    for place in (*callbacks, *variables, *suspicious):
        if not any(f"hydra.{place}.".startswith(f"{name}.") for name in typed if name.startswith("hydra.")):
            raise UserError(
                f"a config sets hydra.{place}, which could run code or write anywhere: configs are to hold names and "
                "values only; take it out of the config, or type it if you trust it"
            )


def _runs(place: str, value: Any) -> bool:
    key = place.rpartition(".")[2]
    if key in NAMING:
        return value is not None and not CALLED.fullmatch(str(value))
    if place.partition(".")[0] == "launcher" and key in SHELL:
        return bool(value)
    return isinstance(value, str) and INDIRECT.fullmatch(value) is not None


def _below(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every value that holds no others, by its place."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _below(item, f"{place}.{key}")
    elif isinstance(value, list) and value and place.rpartition(".")[2] not in SHELL:
        for number, item in enumerate(value):
            yield from _below(item, f"{place}.{number}")
    else:
        yield place, value
