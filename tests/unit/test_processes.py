import signal
from types import SimpleNamespace

import pytest

from clusterlab.processes import ProcessError, _cause


def failed(code: int, timestamp: int = 0):
    return SimpleNamespace(exitcode=code, timestamp=timestamp, signal_name=lambda: signal.Signals(-code).name)


@pytest.mark.parametrize(
    ("failures", "rank"),
    [
        ({0: failed(1, 5), 1: failed(1, 4)}, 1),  # who was first
        ({0: failed(1, 4), 1: failed(-signal.SIGKILL, 5)}, 1),  # who was killed, not who complains of that
        ({0: failed(-signal.SIGTERM, 4), 1: failed(1, 5)}, 1),  # nor who was ended for it
        ({0: failed(2, 5), 1: failed(2, 4)}, 0),  # of a mistake, who tells it on the terminal
        ({0: failed(-signal.SIGTERM, 4), 1: failed(2, 5)}, 1),
    ],
)
def test_the_cause_is_the_process_that_failed_first(failures, rank):
    assert _cause(failures) == (rank, failures[rank])


def test_a_mistake_that_only_another_process_came_to_tell_is_told_in_its_words(tmp_path):
    log = tmp_path / "run" / "attempt_0" / "1" / "stderr.log"
    log.parent.mkdir(parents=True)
    log.write_text("some remark\nclusterlab: num_clusters=9 is too many\nlast words\n")
    error = ProcessError(1, failed(2), count=2, log_dir=tmp_path)
    assert (error.told, error.code, str(error)) == (False, 2, "num_clusters=9 is too many")


def test_what_failed_otherwise_is_named_with_where_to_look(tmp_path):
    error = ProcessError(1, failed(1), count=2, log_dir=tmp_path)
    assert str(error).startswith("process 2 of 2 ended with exit code 1")
    assert str(tmp_path) in str(error)
    assert not error.told
    killed = ProcessError(0, failed(-signal.SIGKILL), count=2, log_dir=tmp_path)
    assert (killed.code, killed.told) == (1, False)
    assert "signal SIGKILL" in str(killed)
