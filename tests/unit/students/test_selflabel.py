import pytest
import torch

from clusterlab.students.selflabel import selflabel_loss


def waves():
    i, j = torch.meshgrid(torch.arange(8.0).double(), torch.arange(4.0).double(), indexing="ij")
    return 6 * torch.sin(1.7 * i + 0.9 * j), 2 * torch.cos(0.8 * i - 0.6 * j)


@pytest.mark.parametrize(
    ("threshold", "kept", "balanced", "unbalanced"),
    [
        (0.5, 8, 1.872936987, 1.726974062),
        (0.6, 6, 1.852223541, 1.722128193),
        (0.75, 5, 1.801951585, 1.665945949),
        (0.9, 4, 1.461937496, 1.461937496),
        (0.99, 2, 1.890223128, 1.890223128),
    ],
)
def test_values_agree_with_the_reference(threshold, kept, balanced, unbalanced):
    plain, strong = waves()
    for weighted, want in ((True, balanced), (False, unbalanced)):
        loss = selflabel_loss(plain, strong, threshold=threshold, balanced=weighted)
        assert float(loss.total) == pytest.approx(want, abs=1e-8)
        assert float(loss.kept) == kept / 8


@pytest.mark.parametrize(("balanced", "norm", "tolerance"), [(True, 0.397623, 1e-6), (False, 0.338102056, 1e-8)])
def test_gradients_reach_only_the_strong_view(balanced, norm, tolerance):
    plain, strong = (v.requires_grad_() for v in waves())
    selflabel_loss(plain, strong, threshold=0.5, balanced=balanced).total.backward()
    assert plain.grad is None
    assert float(strong.grad.norm()) == pytest.approx(norm, abs=tolerance)


def test_balanced_is_the_mean_over_present_clusters_of_their_means():
    plain, strong = waves()
    target = plain.argmax(1)
    losses = torch.nn.functional.cross_entropy(strong, target, reduction="none")
    means = [losses[target == c].mean() for c in target.unique()]
    assert float(selflabel_loss(plain, strong, threshold=0.0, balanced=True).total) == pytest.approx(
        float(torch.stack(means).mean()), rel=1e-12
    )


@pytest.mark.parametrize("balanced", [True, False])
def test_no_confident_row_gives_zero_with_a_zero_gradient(balanced):
    strong = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = selflabel_loss(torch.zeros(5, 3), strong, threshold=0.9, balanced=balanced)
    loss.total.backward()
    assert float(loss.total.detach()) == 0
    assert float(loss.kept) == 0
    assert float(strong.grad.abs().max()) == 0


def test_the_threshold_is_strict():
    certain = torch.tensor([[0.0, 0.0]])
    assert float(selflabel_loss(certain, certain, threshold=0.5, balanced=False).kept) == 0


def test_misaligned_views_are_refused():
    with pytest.raises(Exception, match=r"shape|dimension|type"):
        selflabel_loss(torch.zeros(4, 3), torch.zeros(5, 3), threshold=0.5, balanced=True)
