import math

import pytest
import torch
from small_students import few_steps, make_student

from clusterlab.students.freematch import FreeMatchState, adaptive_thresholds, fairness, freematch_loss, updated

STATE = FreeMatchState(torch.tensor(0.7), torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.6, 0.2, 0.2]))


def views(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(12, 3, generator=generator), 2 * torch.randn(12, 3, generator=generator)


def test_the_thresholds_agree_with_the_reference():
    assert adaptive_thresholds(STATE).tolist() == pytest.approx([0.7, 0.42, 0.28])


def test_the_averages_move_towards_the_batch():
    probs = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.3, 0.5, 0.2]])
    found = updated(STATE, probs, decay=0.9)
    assert float(found.tau) == pytest.approx(0.9 * 0.7 + 0.1 * 0.675)
    assert found.p_model.tolist() == pytest.approx(
        [0.9 * 0.5 + 0.1 * 0.45, 0.9 * 0.3 + 0.1 * 0.25, 0.9 * 0.2 + 0.1 * 0.3]
    )
    assert found.label_hist.tolist() == pytest.approx([0.9 * 0.6 + 0.05, 0.9 * 0.2 + 0.025, 0.9 * 0.2 + 0.025])


def by_loops(weak, strong, state, weight):
    """Cross-entropy, fairness and share kept, from plain numbers."""
    thresholds = [float(state.tau * p / state.p_model.max()) for p in state.p_model]
    cost, kept = 0.0, []
    for w, s in zip(weak, strong, strict=True):
        p = w.softmax(0).tolist()
        label = p.index(max(p))
        if p[label] >= thresholds[label]:
            cost -= float(s.log_softmax(0)[label])
            kept.append(s.softmax(0).tolist())
    sums, counts = [0.0] * 3, [0] * 3
    for p in kept:
        counts[p.index(max(p))] += 1
        sums = [a + b for a, b in zip(sums, p, strict=True)]
    expected = [float(p / h) for p, h in zip(state.p_model, state.label_hist, strict=True)]
    found = [(a / len(kept)) / (c / len(kept)) if c else 0.0 for a, c in zip(sums, counts, strict=True)]
    term = sum(e / sum(expected) * math.log(f / sum(found)) for e, f in zip(expected, found, strict=True) if f)
    return cost / len(weak) + weight * term, term, len(kept) / len(weak), counts


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_formula_written_out_as_loops(seed):
    weak, strong = views(seed)
    total, term, kept, _ = by_loops(weak, strong, STATE, 0.3)
    found = freematch_loss(weak, strong, state=STATE, fairness_weight=0.3)
    assert 0 < kept < 1
    assert [float(value) for value in found] == pytest.approx([total, kept, term], rel=1e-5)


def test_a_cluster_without_a_strong_view_is_left_out_of_the_fairness():
    weak, strong = views()
    strong[:, 1] -= 10
    *_, counts = by_loops(weak, strong, STATE, 1.0)
    assert counts[1] == 0
    found = freematch_loss(weak, strong, state=STATE, fairness_weight=1.0)
    assert float(found.fairness) == pytest.approx(by_loops(weak, strong, STATE, 1.0)[1], rel=1e-5)


def test_with_even_predictions_and_averages_the_fairness_is_minus_log_k():
    even = torch.full((3,), 1 / 3)
    strong = 5 * torch.eye(3)
    found = fairness(strong, torch.ones(3, dtype=torch.bool), FreeMatchState(torch.tensor(0.5), even, even))
    assert float(found) == pytest.approx(-math.log(3), rel=1e-6)


def test_the_fairness_pushes_against_a_cluster_that_is_favoured():
    even = torch.full((2,), 0.5)
    strong = torch.tensor([[2.0, 0.0], [2.0, 0.0], [0.0, 0.1]], requires_grad=True)
    fairness(strong, torch.ones(3, dtype=torch.bool), FreeMatchState(torch.tensor(0.5), even, even)).backward()
    assert all(torch.isfinite(strong.grad).flatten())
    assert float(strong.grad.abs().max()) > 0


def test_nothing_kept_gives_zero_with_a_zero_gradient():
    strong = torch.randn(4, 3, requires_grad=True)
    state = STATE._replace(tau=torch.tensor(0.99), p_model=torch.full((3,), 1 / 3))
    found = freematch_loss(torch.zeros(4, 3), strong, state=state, fairness_weight=1.0)
    found.total.backward()
    assert [float(value.detach()) for value in found] == [0, 0, 0]
    assert float(strong.grad.abs().max()) == 0


def test_a_cluster_that_was_not_predicted_for_ages_does_not_break_the_fairness():
    state = FreeMatchState(torch.tensor(0.5), torch.tensor([0.5, 0.5, 1e-9]), torch.tensor([0.5, 0.5, 0.0]))
    strong = (5 * torch.eye(3)).requires_grad_()
    term = fairness(strong, torch.ones(3, dtype=torch.bool), state)
    term.backward()
    assert float(term.detach()) == pytest.approx(-math.log(3), rel=1e-6)
    assert torch.isfinite(strong.grad).all()


def test_no_gradient_reaches_the_weak_views():
    weak, strong = (view.requires_grad_() for view in views())
    freematch_loss(weak, strong, state=STATE, fairness_weight=1.0).total.backward()
    assert weak.grad is None
    assert float(strong.grad.abs().max()) > 0


def test_misaligned_views_are_refused():
    weak, strong = views()
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        freematch_loss(weak, strong[:5], state=STATE, fairness_weight=1.0)


def test_the_averages_start_even_and_take_in_a_batch_before_they_judge_it(work):
    stage = make_student("freematch", work, settings=few_steps("freematch", state_decay=0.5))
    assert [float(stage.tau), *stage.p_model.tolist(), *stage.label_hist.tolist()] == pytest.approx([0.1] * 21)
    probs = torch.full((2, 10), 0.1)
    probs[:, 4] = torch.tensor([0.11, 0.91])
    probs /= probs.sum(dim=1, keepdim=True)
    loss = stage.unlabelled_loss(probs.log(), probs.log(), torch.tensor([1, 2]))
    assert float(stage.tau) == pytest.approx(0.5 * 0.1 + 0.5 * float(probs[:, 4].mean()))
    assert float(stage.label_hist[4]) == pytest.approx(0.5 * 0.1 + 0.5)
    assert float(loss.kept) == 0.5  # before, the threshold was 0.1 and both rows above it
