"""On a GPU a training step waits for nothing: neither for a value from the device nor for a copy to it."""

import pytest
import torch
from fake_gpu import GPU, FakeDraws, move, on_fake_gpu, stage_of
from pytorch_lightning.core.optimizer import LightningOptimizer

from clusterlab import training
from clusterlab.data.datamodule import Pixels
from clusterlab.data.views import make_view
from clusterlab.heads import spice
from clusterlab.models.optim import make_optimiser

BATCH = 32
STAGES = {
    "simclr": ("scan_cifar10", "features"),
    "moco": ("spice_cifar10", "features"),
    "scan": ("scan_cifar10", "head"),
    "spice": ("spice_cifar10", "head"),
    "selflabel": ("scan_cifar10", "student"),
    "fixmatch": ("spice_cifar10", "student"),
}
SMALLER = {"moco": {"batch_size": BATCH, "queue_size": 2 * BATCH}, "spice": {"train_batch_size": 8, "num_repeats": 1}}

# Without a GPU autocast to bfloat16 does nothing, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda':UserWarning")


@pytest.fixture(autouse=True)
def fake_draws(monkeypatch):
    for module, name in ((training, "generator_for"), (training, "ShareOfDraws"), (spice, "ShareOfDraws")):
        monkeypatch.setattr(module, name, lambda *_, **__: FakeDraws())


def test_what_waits_is_noticed():
    with on_fake_gpu() as waiting:
        values = torch.zeros(4, device=GPU)
        for ask in (lambda v: v[0].item(), torch.Tensor.nonzero, lambda v: v[v > 0]):
            with pytest.raises(Exception, match=r"nonzero|_local_scalar_dense"):
                ask(values)
        torch.zeros(4).to(GPU, non_blocking=True)
        assert waiting.found == []
        torch.zeros(4).to(GPU)
        values.cpu()
        assert waiting.found == ["cpu to cuda, (4,)", "cuda to cpu, (4,)"]


@pytest.mark.parametrize("family", ["plain", "contrastive", "weak", "strong", "randaugment"])
def test_no_view_waits_for_the_device(family, tmp_path):
    data = stage_of("scan_cifar10", "features", tmp_path).work.data
    contrastive = data.views.contrastive.model_copy(update={"blur_probability": 0.5, "rotate_degrees": 10.0})
    view = make_view(family, data.views.model_copy(update={"contrastive": contrastive}), mean=data.mean, std=data.std)
    with on_fake_gpu() as waiting:
        images, generator = torch.zeros(BATCH, 3, 32, 32, dtype=torch.uint8, device=GPU), FakeDraws()
        assert view(images, generator.hand_out(slice(None), BATCH)).device == GPU
        waiting.found.clear()  # constants are copied once
        view(images, generator)
        assert waiting.found == []


@pytest.mark.parametrize("name", STAGES)
def test_no_step_waits_for_the_device(name, tmp_path, monkeypatch):
    stage = stage_of(*STAGES[name], tmp_path, **SMALLER.get(name, {}))
    with on_fake_gpu() as waiting:
        move(stage)
        stage.pixels = Pixels(stage.work.images, GPU)
        optimiser = make_optimiser(stage.part.optimiser, stage.trained_parameters())
        monkeypatch.setattr(stage, "optimizers", lambda: StepsElsewhere(optimiser))
        monkeypatch.setattr(stage, "manual_backward", lambda loss: None)
        for _ in range(2):
            waiting.found.clear()  # what a first step brings to the device stays there
            stage.training_step(torch.zeros(BATCH, dtype=torch.int64, device=GPU), 0)
            # Autograd's engine wants a real device; what it runs are the derivatives of what has just been run.
            for parameter in stage.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
            optimiser.step()
            stage.on_train_batch_end(None, None, 0)
        assert waiting.found == []


class StepsElsewhere(LightningOptimizer):
    """Stands in for the optimiser of a stage that takes its steps itself."""

    def step(self, *_, **__):
        """The test takes them."""
