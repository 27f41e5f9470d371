"""A run that is ended, and the same command again"""

import pytest
from kill_cases import METHODS, broken

from killed import When, run
from memory_group import memory_group

SMALLEST = 0.2
"""Of what a run needs."""


@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_for_its_memory_ends_as_an_unbroken_one(tmp_path, unbroken, method, kills, kill_seed, tried):
    """The kernel kills it for its memory (cgroup), at a random limit below what a run needs"""
    whole = unbroken(method)
    with memory_group() as group:
        if group is None:
            pytest.skip("this system does not let us limit the memory of a group of processes")
        (needed := tmp_path / "needed").mkdir()
        assert run(needed, *whole.words, group=group).code == 0
        most = group.peak()

        def killed(folder, when):
            group.allow(when.memory)
            return run(folder, *whole.words, when=when, group=group)

        cases = max(1, kills // 3)
        draw = lambda rng: When(memory=rng.uniform(SMALLEST, 1) * most)  # noqa: E731
        tried(broken(tmp_path, whole, cases, kill_seed, draw, end=killed))
