"""Deep image clustering without labels: published methods as parts of one pipeline."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clusterlab.predict.load import load

__all__ = ["__version__", "load"]

try:
    __version__ = version("clusterlab")
except PackageNotFoundError:  # run from a checkout that was not installed, with src/ on the path
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    """Import `load` when it is first asked for: with it come torch and the networks."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clusterlab.predict.load import load

    return load
