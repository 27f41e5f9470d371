import numpy as np
import pytest


@pytest.fixture(scope="session")
def scans(tmp_path_factory):
    """Real scans in two files, one with labels and one without."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images * 255 / 16).round().astype(np.uint8)[:300]
    folder = tmp_path_factory.mktemp("scans")
    np.savez(folder / "with.npz", images=images, labels=digits.target[:300])
    np.savez(folder / "without.npz", images=images)
    return folder
