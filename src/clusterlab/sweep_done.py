"""Whether a run is done: its outputs lie there, and all that they depend on is as it was.

A job of a sweep leaves `finished.json` beside its outputs: a key of what they depend on, and the files' checksums.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusterlab.durable import write_text
from clusterlab.other_packages import config_folders
from clusterlab.output.versions import versions
from clusterlab.registry import own_names
from clusterlab.run_folder import LOCK, LOG

FINISHED = "finished.json"


def key_of_run(values: Mapping[str, Any]) -> str | None:
    """Return the hash of all that a run's outputs depend on, None where that is not known.

    The settings, our code and that of other packages, the libraries' versions, and the files of the data, by name, size
    and time of change. What data that another package reads depend on is not known.
    """
    stamps = _stamps(values["data"])
    if stamps is None:
        return None
    code = hashlib.sha256()
    for package in (Path(__file__).parent, *(folder.parent for folder in config_folders().values())):
        for path in sorted(package.rglob("*.py")):
            code.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    ingredients = {"values": values, "code": code.hexdigest(), "versions": versions(), "data": stamps}
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


def _stamps(data: Mapping[str, Any]) -> list[Any] | None:
    if data["name"] not in own_names("data"):
        return None
    if data.get("root") is None:
        return []
    root = Path(data["root"])
    found, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True):
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()  # a link back up
            continue
        seen.add((about.st_dev, about.st_ino))
        found += [os.path.join(folder, name) for name in files]
    return [_stamp(path) for path in sorted(found or [str(root)])]


def _stamp(path: str) -> list[Any]:
    try:
        about = os.stat(path)
    except OSError as error:
        return [path, error.errno]
    return [path, about.st_size, about.st_mtime_ns, about.st_mode]


def mark_finished(run_dir: Path, key: str | None) -> dict[str, Any]:
    """Note that the outputs in `run_dir` are those of `key`; return their metrics."""
    if key is not None:
        write_text(run_dir / FINISHED, json.dumps({"key": key, "sha256": _sums(run_dir)}, indent=1) + "\n")
    return _metrics(run_dir)


def finished(run_dir: Path, key: str | None) -> dict[str, Any] | None:
    """Return the metrics of the outputs in `run_dir`, if they are those of `key` and none has changed."""
    try:
        about = json.loads((run_dir / FINISHED).read_text(encoding="utf-8"))
        if key is None or about["key"] != key or about["sha256"] != _sums(run_dir):
            return None
        return _metrics(run_dir)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sums(run_dir: Path) -> dict[str, str]:
    files = (path for path in run_dir.iterdir() if path.is_file() and path.name not in (FINISHED, LOG, LOCK))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def _metrics(run_dir: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    return metrics
