"""Deep image clustering without labels: published methods as parts of one pipeline."""

from importlib.metadata import version

__version__ = version("clusterlab")
