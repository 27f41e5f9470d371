"""Two processes with half of every batch each do what one process does with all of it."""

import math
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from small_asd import SMALL as SMALL_ASD
from small_asd import clusters_to_start_from
from small_students import FEW, few_steps, some_assignments
from small_students import shipped as shipped_student
from torch.nn import functional as F
from two_ranks import on_two_ranks

from clusterlab.artifacts import Embeddings, Encoder, Neighbours, PseudoLabels
from clusterlab.history import read_history
from clusterlab.nearest import nearest_with_torch
from clusterlab.registry import own_names

CASES = {
    "simclr": ("scan", "features", {"batch_size": 10}),
    "simclr, batches that cannot be halved": ("scan", "features", {"batch_size": 13}),
    "moco": ("spice", "features", {"batch_size": 16, "batch_norm_groups": 4, "queue_size": 32}),
    "scan": ("scan", "head", {"batch_size": 10, "num_heads": 2}),
    "scan, heads alone": ("scan", "head", {"batch_size": 10, "num_heads": 2, "update": "heads"}),
    "spice": ("spice", "head", {"batch_size": 40, "num_heads": 2, "train_batch_size": 10, "view_batch_size": 15}),
    "spice, batch norm trained": (
        "spice", "head", {"batch_size": 40, "num_heads": 2, "train_batch_size": 10, "freeze_bn": False}
    ),
    "asd": ("asd", "head", SMALL_ASD),
} | {
    f"student {name}": ("student", name, {"threshold": 0.1} if name == "selflabel" else {})
    for name in own_names("student")
}  # fmt: skip


@cache
def shipped(method, section):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from clusterlab.config import parse

    conf = Path(__file__).parents[2] / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        composed = compose("config", overrides=[f"method={method}"])
    config = parse(OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    return next(plan for plan in config.stages if plan.section == section)


def inputs_of(part, work):
    """Random weights, and what follows from the pixels."""
    torch.manual_seed(1)
    values = F.normalize(torch.from_numpy(work.images.pixels).float().flatten(1), dim=1)
    train, scored = work.images.train_index, work.images.eval_index
    made = {
        "encoder": Encoder(backbone=work.network.build().state_dict(), projection={}),
        "embeddings": Embeddings(values=values),
        "neighbours": Neighbours(
            train=train[nearest_with_torch(values[train], 3)], eval=scored[nearest_with_torch(values[scored], 2)]
        ),
        "assignments": some_assignments(work),
        "pseudo_labels": PseudoLabels(FEW, num_clusters=10),
    }
    return {name: made[name] for name in part.consumes}


def trained(case, work):
    """The history, and the numbers of the artifact that say most, of the case with a small batch."""
    method, section, changes = CASES[case]
    plan = shipped_student(section) if method == "student" else shipped(method, section)
    settings = few_steps(section, **changes) if method == "student" else plan.settings.model_copy(update=changes)
    folder = Path(tempfile.mkdtemp(dir=work.folder))
    work = replace(work, folder=folder, title=case)
    inputs = inputs_of(plan.part, work)
    if case == "asd":
        inputs["assignments"] = clusters_to_start_from(work, torch.arange(60) % 10)
    artifact = plan.part(settings=settings, work=work, **inputs).run()
    rows = read_history(folder / "history.csv") if (folder / "history.csv").exists() else []
    outcome = next(getattr(artifact, name) for name in ("probs", "transitions", "backbone") if hasattr(artifact, name))
    if isinstance(outcome, dict):
        outcome = torch.cat([value.flatten().float() for value in outcome.values()])
    return {tuple(row[:4]): row[4] for row in rows}, outcome.tolist()


def all_cases(work, names, rank):
    torch.set_num_threads(1)
    return {name: trained(name, work) for name in names}


@pytest.fixture(scope="module")
def from_two_ranks():
    """Both ranks' results of every case, asked for once."""
    return {}


class OnTwoRanks:
    """A function of the rank that another process can be given."""

    def __init__(self, work):
        self.work = work

    def __call__(self, rank):
        return all_cases(self.work, list(CASES), rank)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_results_are_those_of_one_process(case, work, from_two_ranks):
    work = replace(work, listener=print)  # a lambda does not reach another process
    if not from_two_ranks:
        from_two_ranks["ranks"] = on_two_ranks(OnTwoRanks(work))
    (first, outcome), (nothing, beside) = (found[case] for found in from_two_ranks["ranks"])
    history, alone = trained(case, work)
    assert nothing == {}, "the second process wrote a history"
    assert outcome == pytest.approx(beside, abs=0) if isinstance(outcome[0], float) else outcome == beside
    assert first.keys() == history.keys()
    assert any(key[3] == "loss" and value for key, value in history.items())
    for key, value in history.items():
        assert math.isclose(first[key], value, rel_tol=1e-5, abs_tol=1e-5), (key, first[key], value)
    if case != "moco":  # its running averages are means over the processes
        torch.testing.assert_close(torch.tensor(outcome), torch.tensor(alone), atol=1e-3, rtol=1e-3)
