import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest

from clusterlab import stopping
from clusterlab.stopping import Stopped


def told(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_the_code_that_shells_give_it(number):
    with pytest.raises(Stopped) as stop, stopping.obeyed():
        told(number)
    assert stop.value.code == 128 + number


def test_what_was_done_with_signals_before_is_done_again():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with pytest.raises(Stopped), stopping.obeyed():
        told(signal.SIGTERM)
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


def test_while_it_can_be_saved_the_first_signal_waits_and_says_so(capfd):
    with stopping.obeyed():
        with stopping.when_saved():
            told(signal.SIGTERM)
            told(signal.SIGTERM)
            assert stopping.wanted()
        assert capfd.readouterr().err.encode() == 2 * stopping.SAVING
        with pytest.raises(Stopped):
            stopping.see_to_it()


def test_a_second_ctrl_c_does_not_wait():
    with stopping.obeyed(), stopping.when_saved():
        told(signal.SIGINT)
        with pytest.raises(Stopped):
            told(signal.SIGINT)


def test_a_wish_that_somebody_swallowed_is_seen_to_later():
    with stopping.obeyed():
        with pytest.raises(Stopped):
            told(signal.SIGINT)
        with pytest.raises(Stopped), stopping.when_saved():
            pytest.fail("it began to train")


def test_a_process_deaf_to_ctrl_c_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.obeyed():
            told(signal.SIGINT)
            assert not stopping.wanted()
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_last_line_is_a_command_that_a_shell_understands(monkeypatch):
    monkeypatch.setattr(stopping.sys, "orig_argv", ["python", "-m", "clusterlab", "data.root=my photos"])
    assert stopping.how_to_go_on().endswith(": python -m clusterlab 'data.root=my photos'")


def test_what_a_library_makes_of_a_signal_in_its_middle_still_ends_the_command_as_one():
    with pytest.raises(Stopped) as ended, stopping.obeyed(), stopping.not_swallowed():  # noqa: PT012
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped:
            raise ValueError("could not determine the shape") from None
    assert ended.value.code == 143


class Ends:
    """Something in whose end a signal comes, where nothing can be raised."""

    def __del__(self):
        told(signal.SIGTERM)


def test_a_signal_that_comes_where_nothing_can_be_raised_ends_the_command_right_after(capsys):
    began = time.monotonic()
    with pytest.raises(Stopped) as stop, stopping.obeyed():  # noqa: PT012
        ends = Ends()
        del ends
        time.sleep(10)
    assert time.monotonic() - began < 5
    assert stop.value.code == 143
    assert capsys.readouterr().err == ""


def test_what_else_is_swallowed_is_told_as_ever(monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    with stopping.obeyed():
        sys.unraisablehook(SimpleNamespace(exc_value=ValueError("of its own")))
    assert len(heard) == 1
    assert sys.unraisablehook == heard.append


def test_an_error_without_a_signal_stays_what_it_is():
    with pytest.raises(ValueError, match="of its own"), stopping.obeyed(), stopping.not_swallowed():
        raise ValueError("of its own")
