"""A run that is ended, and the same command again

The words of the digits in `command_line`, every method; each case draws its moment from the seed and its number.
"""

import random
import shlex
import signal
import time

import pytest
import torch
from kill_cases import METHODS, broken, check_end

from command_line import SMALL, Command
from killed import When, run


@pytest.fixture(params=METHODS)
def whole(request, unbroken):
    return unbroken(request.param)


def test_a_run_killed_at_any_moment_ends_as_an_unbroken_one(tmp_path, whole, kills, kill_seed, tried):
    """SIGKILL at a random moment, up to three times in a row"""
    draw = lambda rng: When(after=rng.uniform(0, whole.seconds))  # noqa: E731
    tried(broken(tmp_path, whole, kills, kill_seed, draw))


def test_a_run_killed_between_changes_of_files_ends_as_an_unbroken_one(tmp_path, whole, kills, kill_seed, tried):
    """SIGKILL right before a file is made, renamed or removed, up to three times in a row"""
    draw = lambda rng: When(change=rng.randrange(whole.changes))  # noqa: E731
    tried(broken(tmp_path, whole, max(1, kills // 2), kill_seed, draw))


def test_a_run_stopped_at_any_moment_ends_as_an_unbroken_one(tmp_path, whole, kills, kill_seed, tried):
    """SIGINT (Ctrl-C) or SIGTERM at a random moment: exit code 130 or 143, the command to go on with, no traceback"""

    def check(ended):
        assert ended.code in (0, 128 + signal.SIGINT, 128 + signal.SIGTERM), ended.output
        assert "Traceback" not in ended.output, ended.output
        if ended.code:
            assert "stopped; the same command goes on where it stopped: " in ended.output, ended.output

    def draw(rng):
        return When(signal=rng.choice((signal.SIGINT, signal.SIGTERM)), after=rng.uniform(0, whole.seconds))

    tried(broken(tmp_path, whole, max(1, kills // 3), kill_seed, draw, check=check))


@pytest.mark.parametrize("method", [method for method in METHODS if method != "kmeans"])
def test_a_run_stopped_in_any_step_goes_on_with_the_next_one(tmp_path, unbroken, method, kills, kill_seed, tried):
    """SIGTERM in a random step of a training: it is saved, and no step is made twice"""
    whole = unbroken(method)
    cases = max(2, kills // 3)
    for case in range(cases):
        rng = random.Random(f"{kill_seed} {method} {case}")
        folder = tmp_path / str(case)
        folder.mkdir()
        step = rng.randint(1, whole.steps)
        ended = run(folder, *whole.words, when=When(signal=signal.SIGTERM, step=step))
        told = f"--kill-seed {kill_seed}, case {case}: {When(signal=signal.SIGTERM, step=step)} in {ended.stage}"
        assert ended.code == 128 + signal.SIGTERM, f"{told}\n{ended.output}"
        (checkpoint,) = folder.glob("outputs/stages/*.work/last.ckpt")
        assert torch.load(checkpoint, weights_only=True)["global_step"] > 0
        again = check_end(folder, whole)
        assert ended.counted("steps") + again.counted("steps") == whole.steps, told
    tried(cases)


def test_the_command_as_a_person_runs_it_says_with_which_words_to_go_on(tmp_path, tried):
    """SIGTERM or SIGINT while it trains, in a process of its own: the last line holds the command, which goes on"""
    command = Command(tmp_path)
    for number, sign in ((signal.SIGTERM, ": starting"), (signal.SIGINT, ": going on with it")):
        process = command.start(*SMALL["scan"], "features.max_epochs=100000")
        told = next(line for line in process.stdout if "features: simclr" in line)
        assert sign in told
        time.sleep(1)
        process.send_signal(number)
        last = process.communicate(timeout=60)[0].splitlines()[-1]
        assert process.returncode == 128 + number
        said, words = last.rsplit(": ", 1)
        assert said == "clusterlab: stopped; the same command goes on where it stopped"
        assert shlex.split(words) == process.args
    tried(2)
