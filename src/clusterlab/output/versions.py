"""Which versions made a result."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("clusterlab", "torch", "torchvision", "pytorch-lightning", "numpy", "scipy", "scikit-learn")
FAISS = ("faiss-gpu", "faiss-cpu")


def versions() -> dict[str, str | None]:
    """Return each package's version, None where it is not installed; imports none of them."""
    found = {package.replace("-", "_"): _installed(package) for package in PACKAGES}
    faiss = next(filter(None, map(_installed, FAISS)), None)
    return {"python": platform.python_version(), **found, "faiss": faiss}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
