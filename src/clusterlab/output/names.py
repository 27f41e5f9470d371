"""`names.yaml`: what a person calls the clusters. The report offers it for download; it is kept beside the report.

    result: student-selflabel-3f0c6a5d2b91
    names:
      0: cats
      3: dogs

`result` says whose clusters they are: another training numbers its clusters differently. Without it, as in a file that
was typed, the names count whatever the result.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clusterlab.errors import UserError
from clusterlab.yaml_size import see_size

FILE = "names.yaml"
LONGEST = 100
"""Characters of a name."""

log = logging.getLogger(__name__)


def read_names(run_dir: Path, *, result: str, num_clusters: int) -> dict[int, str]:
    """Return the names by cluster, none where there is no file or where it names the clusters of another result.

    Raises:
        UserError: the file is not as described above.
    """
    path = run_dir / FILE
    try:
        see_size(path)
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read ({reason})") from error
    names = _checked(found, path, num_clusters)
    if found.get("result", result) != result:
        log.warning("%s names the clusters of %s, not of %s: not used", path, found["result"], result)
        return {}
    return names


def _checked(found: Any, path: Path, num_clusters: int) -> dict[int, str]:
    if not isinstance(found, Mapping) or not isinstance(found.get("names"), Mapping):
        raise UserError(f"{path} needs a line `names:` and below it one such as `  0: cats` for each cluster")
    for cluster, name in found["names"].items():
        if type(cluster) is not int or not 0 <= cluster < num_clusters:
            raise UserError(f"{path}: {cluster!r} is no cluster; they are numbered 0 to {num_clusters - 1}")
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST:
            raise UserError(f"{path}: the name of cluster {cluster} has to be a text of 1 to {LONGEST} characters")
    return {cluster: " ".join(name.split()) for cluster, name in found["names"].items()}
