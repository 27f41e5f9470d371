"""Deep image clustering without labels: published methods as parts of one pipeline."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("clusterlab")
except PackageNotFoundError:  # run from a checkout that was not installed, with src/ on the path
    __version__ = "unknown"
