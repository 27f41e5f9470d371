import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clusterlab.artifacts import Neighbours
from clusterlab.output import near_duplicates as module
from clusterlab.output.near_duplicates import near_duplicates
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.table import tabulate
from pages import page_of


@pytest.fixture
def case(make_run):
    """Eight images, of which 0 and 1, 2 and 4, 3 and 7 are each other's nearest."""
    run = make_run(8, num_clusters=2)
    found = Neighbours(train=torch.tensor([[1], [0], [4], [2], [6], [4]]), eval=torch.tensor([[7], [3]]))
    angles = torch.tensor([0.0, 0.05, 1.0, 2.0, 1.01, 3.0, 3.1, 2.5])
    embeddings = F.normalize(torch.stack([angles.cos(), angles.sin()], dim=1), dim=1)
    choice = choose(run.assignments.probs)
    prototypes = find_prototypes(run.assignments.embeddings, choice, 2)
    table = tabulate(run.images, run.assignments, choice, prototypes, None, {})
    return run, table, found, embeddings


def test_pairs_above_the_threshold_are_shown_nearest_first(case):
    run, table, found, embeddings = case
    near = near_duplicates(run.images, table, found, embeddings)
    assert near.count == 2  # 3 and 7 have cos 0.5 = 0.88
    assert [pair.ids for pair in near.shown] == [
        ("digits/0002.png", "digits/0004.png"),
        ("digits/0000.png", "digits/0001.png"),
    ]
    assert [pair.similarity for pair in near.shown] == pytest.approx(np.cos([0.01, 0.05]).tolist(), abs=1e-6)
    pixels = run.images.pixels.astype(float)
    assert near.shown[1].difference == pytest.approx(np.abs(pixels[0] - pixels[1]).mean() / 255)


def test_exact_twins_are_no_near_duplicates(case):
    run, table, found, embeddings = case
    near = near_duplicates(run.images, replace(table, twin=np.array([-1] * 4 + [2] + [-1] * 3)), found, embeddings)
    assert [pair.ids[0] for pair in near.shown] == ["digits/0000.png"]


def test_all_are_counted_and_some_are_shown(case, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 1)
    run, table, found, embeddings = case
    near = near_duplicates(run.images, table, found, embeddings)
    assert (near.count, len(near.shown)) == (2, 1)


def test_the_page_says_how_near(case):
    run, _, found, embeddings = case
    html = page_of(replace(run, neighbours=found, assignments=replace(run.assignments, embeddings=embeddings.half())))
    assert "Very near to each other: 2 pairs" in html
    assert "cosine similarity of 0.99 or more" in html
    assert re.search(r"cosine 0\.998\d<br>pixels \d", html)
