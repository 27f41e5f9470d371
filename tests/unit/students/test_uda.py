import pytest
import torch

from clusterlab.students.uda import uda_loss


def views():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(9, 4, generator=generator), torch.randn(9, 4, generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_agrees_with_the_formula_written_out_as_loops(temperature):
    weak, strong = views()
    terms = []
    for w, s in zip(weak.tolist(), strong, strict=True):
        exps = torch.tensor(w).exp()
        sharp = torch.tensor([value / temperature for value in w]).exp()
        target = sharp / sharp.sum()
        cost = -sum(float(q) * float(lp) for q, lp in zip(target, s.log_softmax(0), strict=True))
        terms.append(cost if float((exps / exps.sum()).max()) >= 0.8 else 0.0)
    assert 0 < sum(term > 0 for term in terms) < 9
    found = uda_loss(weak, strong, threshold=0.8, temperature=temperature)
    assert float(found.total) == pytest.approx(sum(terms) / 9, rel=1e-5)
    assert float(found.kept) == pytest.approx(sum(term > 0 for term in terms) / 9)


def test_views_that_agree_cost_the_entropy_of_their_probabilities():
    logits = torch.tensor([[0.9, 0.1]]).log()
    found = uda_loss(logits, logits, threshold=0.8, temperature=1.0)
    assert float(found.total) == pytest.approx(0.325083, abs=1e-6)  # −.9 ln .9 − .1 ln .1


def test_sharpening_leaves_the_threshold_alone():
    logits = torch.tensor([[0.7, 0.3]]).log()
    assert float(uda_loss(logits, logits, threshold=0.8, temperature=0.1).kept) == 0
    assert float(uda_loss(logits, logits, threshold=0.699, temperature=0.1).kept) == 1


def test_an_undecided_network_learns_nothing():
    strong = torch.randn(4, 3, requires_grad=True)
    found = uda_loss(torch.zeros(4, 3), strong, threshold=0.8, temperature=1.0)
    found.total.backward()
    assert float(found.total.detach()) == 0
    assert float(strong.grad.abs().max()) == 0


def test_no_gradient_reaches_the_weak_views():
    weak, strong = (view.requires_grad_() for view in views())
    uda_loss(weak, strong, threshold=0.5, temperature=1.0).total.backward()
    assert weak.grad is None
    assert float(strong.grad.abs().max()) > 0


def test_misaligned_views_are_refused():
    weak, strong = views()
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        uda_loss(weak, strong[:5], threshold=0.8, temperature=1.0)
