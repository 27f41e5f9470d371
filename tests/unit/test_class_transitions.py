import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from clusterlab.class_transitions import ClassTransitions, follow

BATCHES = [
    ([0, 1, 2], [0, 0, 1]), ([0, 3, 1], [1, 2, 0]), ([0, 1, 2], [0, 2, 1]), ([3, 0, 2], [1, 0, 2]),
    ([0, 1, 3], [2, 0, 1]),
]  # fmt: skip
SAMPLES, CLASSES, VISITS = 6, 4, 8


def tracker(*, samples=4, classes=3, window=None, visits=3):
    return ClassTransitions(samples=samples, classes=classes, window=window, visits=visits)


def see(transitions, *batches):
    for index, classes in batches:
        transitions.update(torch.tensor(index, dtype=torch.int64), torch.tensor(classes, dtype=torch.int64))
    return transitions


def one_by_one(batches, samples, classes):
    """What each batch counts, by a walk from visit to visit, and the classes at the end."""
    bank, counts = [-1] * samples, []
    for batch in batches:
        counts.append(torch.zeros(classes, classes, dtype=torch.int64))
        for i, new in zip(*batch, strict=True):
            if bank[i] not in (-1, new):
                counts[-1][bank[i], new] += 1
            bank[i] = new
    return bank, counts


visits = st.lists(st.tuples(st.integers(0, SAMPLES - 1), st.integers(0, CLASSES - 1)), max_size=VISITS)
batches = st.lists(visits.map(lambda v: ([i for i, _ in v], [c for _, c in v])), min_size=1, max_size=7)
windows = st.sampled_from([None, 1, 2, 3])


def larger(window):
    return tracker(samples=SAMPLES, classes=CLASSES, window=window, visits=VISITS)


def test_counts_agree_with_the_reference_batch_by_batch():
    transitions, want = tracker(), [{}, {(0, 1): 1}, {(0, 2): 1, (1, 0): 1}, {(1, 2): 1, (2, 1): 1}, {}]
    want[4] = {(0, 2): 1, (2, 0): 1}
    for batch, new in zip(BATCHES, want, strict=True):
        before = transitions.counts.clone()
        added = see(transitions, batch).counts - before
        assert {(int(a), int(b)): int(added[a, b]) for a, b in added.nonzero()} == new
    assert transitions.counts.tolist() == [[0, 1, 2], [1, 0, 1], [1, 1, 0]]
    assert transitions.bank.tolist() == [2, 0, 2, 1]


def test_a_window_holds_exactly_its_number_of_updates():
    assert see(tracker(window=2), *BATCHES).counts.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]
    assert see(tracker(window=5), *BATCHES).counts.equal(see(tracker(), *BATCHES).counts)
    assert see(tracker(window=1), *BATCHES[:2]).counts.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_a_first_visit_and_a_repeat_of_the_same_class_count_nothing():
    transitions = see(tracker(), ([1, 2], [2, 0]), ([1, 2], [2, 0]))
    assert transitions.bank.tolist() == [-1, 2, 0, -1]
    assert not transitions.counts.any()


def test_the_second_visit_within_a_batch_sees_the_first():
    assert see(tracker(), ([1, 0, 1], [2, 0, 0])).counts.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
    transitions = see(tracker(), ([1], [1]), ([1, 1, 1], [2, 0, 0]))
    assert transitions.counts.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert transitions.bank.tolist() == [-1, 0, -1, -1]


def test_an_empty_batch_takes_a_slot():
    transitions = see(tracker(window=2), ([0], [0]), ([0], [1]), ([], []))
    assert transitions.counts.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert transitions.ring[0].eq(-1).all()
    assert not see(transitions, ([], [])).counts.any()


def test_with_one_class_nothing_can_change():
    assert see(tracker(classes=1), ([0, 1], [0, 0]), ([1, 1], [0, 0])).counts.tolist() == [[0]]


def test_without_a_window_nothing_is_kept_of_single_updates():
    assert set(tracker().state_dict()) == {"bank", "counts"}
    assert set(tracker(window=2).state_dict()) == {"bank", "counts", "ring", "pointer"}


def test_visits_are_followed_in_their_order():
    bank = torch.tensor([-1, 2, 0])
    before, after = follow(bank, torch.tensor([2, 0, 2, 1, 2]), torch.tensor([1, 0, 1, 1, 2]))
    assert before.tolist() == [0, -1, 1, 2, 1]
    assert after.tolist() == [2, 0, 2, 1, 2]
    assert bank.tolist() == [-1, 2, 0]


@given(batches, windows)
@settings(max_examples=80, deadline=None)
def test_it_counts_what_a_walk_from_visit_to_visit_counts(batches, window):
    transitions = see(larger(window), *batches)
    bank, counts = one_by_one(batches, SAMPLES, CLASSES)
    assert transitions.bank.tolist() == bank
    assert transitions.counts.equal(sum(counts[-window:] if window else counts))
    assert int(transitions.counts.sum()) <= sum(len(index) for index, _ in batches)


@given(batches, windows, st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_a_run_that_goes_on_from_its_state_counts_as_an_unbroken_one(batches, window, at):
    resumed = larger(window)
    resumed.load_state_dict(see(larger(window), *batches[:at]).state_dict())
    want = see(larger(window), *batches).state_dict()
    for name, value in see(resumed, *batches[at:]).state_dict().items():
        assert value.equal(want[name]), name


@given(batches, windows, st.permutations(range(CLASSES)))
@settings(max_examples=40, deadline=None)
def test_other_names_for_the_classes_permute_the_counts(batches, window, names):
    renamed = [(index, [names[c] for c in classes]) for index, classes in batches]
    want = see(larger(window), *batches).counts
    found = see(larger(window), *renamed).counts
    assert found[names][:, names].equal(want)


@given(batches, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_different_images_within_a_batch_does_not_matter(batches, random):
    distinct = [dict(zip(*batch, strict=True)) for batch in batches]
    plain = [(list(batch), list(batch.values())) for batch in distinct]
    shuffled = []
    for batch in distinct:
        items = list(batch.items())
        random.shuffle(items)
        shuffled.append(([i for i, _ in items], [c for _, c in items]))
    found, want = see(larger(2), *shuffled), see(larger(2), *plain)
    assert found.counts.equal(want.counts)
    assert found.bank.equal(want.bank)


def test_more_visits_than_announced_are_refused():
    with pytest.raises(ValueError, match="4 visits, where at most 3"):
        see(tracker(), ([0, 1, 2, 3], [0, 0, 0, 0]))


def test_a_class_that_there_is_not_is_refused():
    with pytest.raises(IndexError):
        see(tracker(), ([0], [0]), ([0], [3]))


def test_a_class_per_visit_is_needed():
    with pytest.raises(TypeCheckError):
        see(tracker(), ([0, 1], [0]))


@pytest.mark.parametrize("size", ["samples", "classes", "window", "visits"])
def test_sizes_start_at_one(size):
    with pytest.raises(ValueError, match=f"{size}=0"):
        tracker(**{size: 0})
