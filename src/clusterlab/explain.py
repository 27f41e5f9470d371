"""Turns what Hydra says of a mistyped command into one line that names the word to change."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from yaml import YAMLError

from clusterlab.other_packages import described
from clusterlab.registry import PACKAGES, nearest, points_of

Compose = Callable[[list[str]], dict[str, Any]]


def explain(error: Exception, arguments: Sequence[str], compose: Compose) -> str:
    """Return one line for an error of the composition.

    Args:
        error: what Hydra, OmegaConf or PyYAML raised.
        arguments: the command's words.
        compose: gives the plain config for a list of overrides; used to list the settings that exist.
    """
    text = str(error)
    if isinstance(error, YAMLError):
        return f"a config cannot be read: {text}"
    if match := re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in struct", text):
        return _unknown_key(match[1], arguments, compose)
    if match := re.search(r"Could not find '([^']+)/([^']+)'", text):
        options = re.findall(r"^\t(\S+)", text.split("Config search path")[0], flags=re.MULTILINE)
        return _unknown_choice(match[1], match[2], options)
    if "No match in the defaults list" in text or "Could not find" in text:
        return _unknown_key(
            next((a.split("=")[0] for a in arguments if a.split("=")[0] in text), ""), arguments, compose
        )
    if "Config group override must be a string" in text:
        group = next((a.split("=")[0] for a in arguments if a.endswith("=null")), "a group")
        return f"nothing is chosen for {group}: write {group}=NAME"
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match[1]} has several values: for a sweep, write -m before it; for a list, name=[a,b]"
    if match := re.search(r"Sweep parameters '(.+)' requires --multirun", text):
        return f"{match[1]} has several values: for a sweep, write -m before it"
    if "does not support sweep type" in text:
        return "an interval is for a search: add hydra/sweeper=optuna"
    if "mismatched input" in text or "no viable alternative" in text or "extraneous input" in text:
        return f"cannot read the command: {text.splitlines()[0]}; write settings as name=value, lists as name=[a,b]"
    return text.splitlines()[0]


def _unknown_choice(group: str, name: str, options: Sequence[str]) -> str:
    if group in PACKAGES and (points := points_of(group, name)):
        return f"{group}={name} of {described(points[0])} has no config: the package lacks conf/{group}/{name}.yaml"
    return f"{group}={name} is not known{nearest(name, list(options))}; choices: {', '.join(options)}"


def _unknown_key(key: str, arguments: Sequence[str], compose: Compose) -> str:
    parts = key.split(".")
    choices = [a for a in arguments if a.split("=")[0] in GROUPS and a.split("=")[0] != key]
    node: Any = compose(choices)
    for depth, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            known = sorted(node) if isinstance(node, dict) else []
            where = ".".join(parts[:depth])
            wrong = ".".join(parts[: depth + 1])
            place = f"settings of {where}" if where else "settings"
            return f"{wrong} is not a setting{nearest(part, known)}; {place}: {', '.join(known)}"
        node = node[part]
    return f"{key} cannot be set like this"


GROUPS = ("method", "data", "backbone", "features", "head", "student", "trainer", "experiment")
