import signal
from types import SimpleNamespace

import pytest

from clusterlab import errors
from clusterlab.errors import UserError
from clusterlab.processes import ProcessError, _cause, _said, launch


def failed(code: int, timestamp: int = 0):
    return SimpleNamespace(exitcode=code, timestamp=timestamp, signal_name=lambda: signal.Signals(-code).name)


@pytest.mark.parametrize(
    ("failures", "lines", "rank"),
    [
        ({0: failed(1, 5), 1: failed(1, 4)}, {}, 1),  # who was first
        ({0: failed(1, 4), 1: failed(-signal.SIGKILL, 5)}, {}, 1),  # who was killed, not who complains of that
        ({0: failed(-signal.SIGTERM, 4), 1: failed(1, 5)}, {}, 1),  # nor who was ended for it
        ({0: failed(143, 4), 1: failed(1, 5)}, {}, 1),
        (
            {0: failed(-signal.SIGTERM, 4), 1: failed(130, 5)},
            {},
            1,
        ),  # of those that were asked to end, who knows by what
        ({0: failed(1, 4), 1: failed(2, 5)}, {1: "too many"}, 1),  # who noticed a mistake, not who misses that one
        ({0: failed(143, 4), 1: failed(1, 3)}, {0: "too many"}, 0),  # even if it was ended before it came to its end
    ],
)
def test_the_cause_is_the_process_that_failed_first(failures, lines, rank):
    assert _cause(failures, lines) == rank


@pytest.mark.parametrize("code", [2, 143])
def test_a_mistake_is_told_in_the_words_of_the_process_that_noticed_it(tmp_path, monkeypatch, capsys, code):
    monkeypatch.setenv(errors.LAUNCHED, str(tmp_path))
    monkeypatch.setenv("RANK", "1")
    errors.tell("num_clusters=9 is too many")
    assert capsys.readouterr().err == ""
    error = ProcessError(1, failed(code), count=2, log_dir=tmp_path, said=_said(tmp_path, 1))
    assert (error.told, error.code, str(error)) == (False, 2, "num_clusters=9 is too many")
    assert _said(tmp_path, 0) is None


def test_a_command_that_cannot_start_its_processes_tells_so_itself(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to run_dir="):
        launch(["method=kmeans"], 2, tmp_path / "file" / "processes")
    assert not errors.launched()


def test_where_no_line_can_be_left_it_is_told_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(errors.LAUNCHED, str(tmp_path / "missing"))
    monkeypatch.setenv("RANK", "0")
    errors.tell("the disk is full")
    assert capsys.readouterr().err == "clusterlab: the disk is full\n"
    assert ProcessError(0, failed(2), count=2, log_dir=tmp_path, said=None).told


def test_what_failed_otherwise_is_named_with_where_to_look(tmp_path):
    error = ProcessError(1, failed(1), count=2, log_dir=tmp_path, said=None)
    assert str(error).startswith("process 2 of 2 ended with exit code 1")
    assert str(tmp_path) in str(error)
    assert not error.told
    killed = ProcessError(0, failed(-signal.SIGKILL), count=2, log_dir=tmp_path, said=None)
    assert (killed.code, killed.told) == (1, False)
    assert "signal SIGKILL" in str(killed)
