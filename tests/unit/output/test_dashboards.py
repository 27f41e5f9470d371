import logging

import pytest

from clusterlab.output.dashboard import About, Dashboard, scalars_of
from clusterlab.output.dashboards import open_dashboard


class Lost(Dashboard):
    """A dashboard whose connection is lost."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def send_epoch(self, stage, epoch, step, metrics):
        self.calls.append(epoch)
        if epoch == 1:
            raise ConnectionError("lost\nand more")

    def end(self, *, failed):
        self.calls.append(failed)


def test_a_failure_on_the_way_is_one_warning_and_then_silence(caplog):
    with caplog.at_level(logging.INFO), Lost() as dashboard:
        for epoch in range(4):
            dashboard.record("head", epoch, 0, {"loss": 1.0})
    assert [record.getMessage() for record in caplog.records] == [
        "Lost failed (ConnectionError: lost): going on without it"
    ]
    assert dashboard.calls == [0, 1]


def test_closing_twice_is_once():
    with Lost() as dashboard:
        dashboard.close()
    assert dashboard.calls == [False]


def fail_inside(dashboard):
    with dashboard:
        raise KeyError


def test_a_run_that_fails_is_marked_failed():
    dashboard = Lost()
    with pytest.raises(KeyError):
        fail_inside(dashboard)
    assert dashboard.calls == [True]


@pytest.mark.parametrize("kind", ["tensorboard", "csv"])
def test_what_cannot_be_opened_is_one_line(tmp_path, caplog, kind):
    (tmp_path / "run").write_text("a file where the folder should be")
    about = About(run_dir=tmp_path / "run", config={}, group="g", name="n", project="p", mode="offline", timeout=5)
    with caplog.at_level(logging.WARNING), open_dashboard(kind, about) as dashboard:
        dashboard.record("head", 0, 0, {"loss": 1.0})
    assert len(caplog.records) == 1
    assert "going on without it" in caplog.text


def test_scalars_are_named_by_their_place():
    stages = [{"name": "head", "part": "scan", "acc": 0.5}, {"name": "student", "cached": True}]
    metrics = {"acc": 0.75, "silhouette": None, "baseline": {"acc": 0.25}, "stages": stages, "warnings": ["a"]}
    assert scalars_of(metrics) == {
        "acc": 0.75, "baseline/acc": 0.25, "head/part": "scan", "head/acc": 0.5, "student/cached": True
    }  # fmt: skip
