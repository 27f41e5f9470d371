import importlib
import importlib.metadata

import clusterlab


def test_a_checkout_that_is_not_installed_can_be_imported(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", missing)
        assert importlib.reload(clusterlab).__version__ == "unknown"
    assert importlib.reload(clusterlab).__version__ != "unknown"
