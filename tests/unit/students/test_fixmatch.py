import pytest
import torch
from small_students import few_steps, make_student

from clusterlab.students.fixmatch import fixmatch_loss

WEAK = [[4, 0, 0], [1, 0.5, 0], [0, 0, 5], [0, 3.7, 0]]
STRONG = [[1, 0.2, -0.5], [0.3, 0.3, 0.3], [0.1, -0.4, 0.9], [0, 1, 2]]


def loss(weak=WEAK, strong=STRONG, **changes):
    settings = {"threshold": 0.95, "temperature": 0.5, "target": "hard"} | changes
    weak, strong = (torch.as_tensor(values, dtype=torch.float32) for values in (weak, strong))
    return fixmatch_loss(weak, strong, **settings)


@pytest.mark.parametrize(
    ("settings", "want", "kept"),
    [
        ({}, 0.61632663, 0.75),
        ({"target": "soft"}, 0.61654317, 0.75),
        ({"threshold": 0.0}, 0.89097971, 1),
        ({"target": "logits"}, 3.18166661, 1),
    ],
)
def test_values_agree_with_the_reference(settings, want, kept):
    found = loss(**settings)
    assert float(found.total) == pytest.approx(want, abs=1e-6)
    assert float(found.kept) == kept


def test_agrees_with_the_formula_written_out_as_loops():
    generator = torch.Generator().manual_seed(0)
    weak, strong = 3 * torch.randn(9, 3, generator=generator), torch.randn(9, 3, generator=generator)
    terms = []
    for w, s in zip(weak, strong, strict=True):
        p = w.softmax(0)
        terms.append(-float(s.log_softmax(0)[p.argmax()]) if float(p.max()) >= 0.8 else 0.0)
    assert 0 < sum(term > 0 for term in terms) < 9
    assert float(loss(weak, strong, threshold=0.8).total) == pytest.approx(sum(terms) / 9, rel=1e-5)


def test_the_threshold_counts_what_reaches_it():
    assert float(loss(weak=[[0.0, 0, -1e4]], strong=[[0.0, 0, 0]], threshold=0.5).kept) == 1


def test_nothing_confident_gives_zero_with_a_zero_gradient():
    strong = torch.randn(4, 3, requires_grad=True)
    found = fixmatch_loss(torch.zeros(4, 3), strong, threshold=0.95, temperature=0.5, target="hard")
    found.total.backward()
    assert float(found.total.detach()) == 0
    assert float(strong.grad.abs().max()) == 0


@pytest.mark.parametrize("target", ["hard", "soft", "logits"])
def test_no_gradient_reaches_the_weak_views(target):
    weak, strong = torch.tensor(WEAK).requires_grad_(), torch.tensor(STRONG).requires_grad_()
    fixmatch_loss(weak, strong, threshold=0.5, temperature=0.5, target=target).total.backward()
    assert weak.grad is None
    assert float(strong.grad.abs().max()) > 0


def test_misaligned_views_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        loss(strong=STRONG[:3])


def test_it_learns_the_labels_it_is_given(work):
    from sklearn.datasets import load_digits

    given = torch.full((60,), -1)
    given[:30] = torch.from_numpy(load_digits().target[:30]).long()
    settings = few_steps(
        "fixmatch", init="random", steps_per_epoch=60, batch_size=16, unlabelled_ratio=1, threshold=0.9
    )
    quick = settings.optimiser.model_copy(update={"schedule": "constant"})
    settings = settings.model_copy(update={"optimiser": quick})
    learned = make_student("fixmatch", work, settings=settings, labels=given).run().probs.argmax(1)
    assert float((learned[:30] == given[:30]).double().mean()) > 0.7
