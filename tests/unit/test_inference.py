import torch
from torch.nn import functional as F

from clusterlab.data.datamodule import Pixels
from clusterlab.inference import assign, evaluating, network_of
from clusterlab.models.classifier import Classifier


def network(work, **changes):
    torch.manual_seed(2)
    made = Classifier(backbone=work.network.build(), **({"clusters": 4} | changes))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_()
    return made


def test_assignments_are_those_of_the_plain_images_in_eval_mode(work):
    made = network(work).train()
    pixels = Pixels(work.images, torch.device("cpu"))
    found = assign(made, work, pixels)
    assert made.training
    with torch.no_grad():
        features = made.eval().backbone(work.view("plain")(pixels.take(torch.arange(60)), torch.Generator()))
    torch.testing.assert_close(found.probs, made.classify(features)[0].softmax(dim=1).detach())
    torch.testing.assert_close(found.embeddings.float(), F.normalize(features, dim=1), atol=1e-3, rtol=0)


def test_the_network_of_assignments_is_the_one_that_gave_them(work):
    groups = torch.tensor([3, 0, 0, 1, 3, 1])  # cluster 2 has no class
    for changes in ({}, {"hidden": 5}, {"normalise": True}, {"groups": groups}, {"groups": groups, "hidden": 5}):
        made = network(work, **changes)
        pixels = Pixels(work.images, torch.device("cpu"))
        found = assign(made, work, pixels)
        again = network_of(found, work)
        assert again.state_dict().keys() == made.state_dict().keys()
        assert (again.groups is None) == ("groups" not in changes)
        torch.testing.assert_close(assign(again, work, pixels).probs, found.probs, rtol=0, atol=0)


def test_a_network_is_put_back_into_the_mode_that_it_was_in(work):
    made = network(work)
    for mode in (True, False):
        made.train(mode)
        with evaluating(made):
            assert not any(module.training for module in made.modules())
        assert made.training == mode
        assert made.backbone.training == mode
