from dataclasses import replace

import numpy as np
import pytest
import torch

from clusterlab.artifacts import Baseline
from clusterlab.evaluation.labels import true_labels
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.summary import summarise
from clusterlab.output.table import tabulate

LONG = {"features": {"name": "simclr", "max_epochs": 20}, "head": {"name": "scan", "max_epochs": 50}}


def advice_for(run) -> list[str]:
    choice, labels = choose(run.assignments.probs), true_labels(run.images)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    return summarise(run, tabulate(run.images, run.assignments, choice, prototypes, labels, {}), labels)["warnings"]


def with_probs(run, probs):
    return replace(run, assignments=replace(run.assignments, probs=probs))


def strangers(run):
    """The same run with clusters that have nothing to do with what the images look like."""
    clusters = torch.randint(10, (240,), generator=torch.Generator().manual_seed(0))
    return with_probs(run, torch.nn.functional.one_hot(clusters, 10).float())


def test_good_clusters_need_no_advice(make_run):
    run = make_run(config=LONG, labelled=False, baseline=None)
    sharper = with_probs(run, (run.assignments.probs + 1e-9).log().mul(20).softmax(1))
    assert advice_for(sharper) == []


def test_clusters_that_part_neighbours_name_the_number_and_the_features(make_run):
    (warning,) = advice_for(strangers(make_run(config=LONG, labelled=False, baseline=None)))
    assert warning.startswith("Only ")
    assert warning.endswith("try fewer clusters, or features.max_epochs above 20.")


def test_features_that_are_not_trained_are_not_to_be_trained_for_longer(make_run):
    (warning,) = advice_for(strangers(make_run(config={"features": None}, labelled=False, baseline=None)))
    assert warning.endswith("try fewer clusters.")


def test_the_trainers_limit_is_named_where_it_ends_the_stages(make_run):
    config = LONG | {"trainer": {"max_epochs": 2}}
    (warning,) = advice_for(strangers(make_run(config=config, labelled=False, baseline=None)))
    assert warning.endswith("or trainer.max_epochs above 2.")


def test_without_neighbours_nothing_is_said_of_them(make_run):
    assert advice_for(strangers(make_run(config=LONG, labelled=False, baseline=None, neighbours=None))) == []


def test_a_network_that_is_not_sure_names_its_own_stage(make_run):
    run = make_run(config=LONG, labelled=False, baseline=None)
    doubtful = with_probs(run, run.assignments.probs.log().mul(0.1).softmax(1))
    (warning,) = advice_for(doubtful)
    assert warning.startswith("The network is not sure: it gives the cluster that it chose a probability of 1")
    assert warning.endswith("Try head.max_epochs above 50.")
    # k-means is not trained for epochs, and its confidence is no doubt of a network.
    assert advice_for(replace(doubtful, config={"head": {"name": "kmeans"}})) == []


def test_a_collapse_is_not_followed_by_what_follows_from_it(make_run):
    run = with_probs(make_run(config=LONG, labelled=False, baseline=None), torch.full((240, 10), 0.1))
    (warning,) = advice_for(run)
    assert "collapsed" in warning


def test_many_copies_are_named_and_a_few_are_not(make_run):
    run = make_run(labelled=False, baseline=None, neighbours=None)
    run.images.pixels[4:12:4] = run.images.pixels[0]
    assert not any("Exact copies" in warning for warning in advice_for(run))
    run.images.pixels[0:64:4] = run.images.pixels[0]
    (warning,) = (warning for warning in advice_for(run) if "Exact copies" in warning)
    assert warning.startswith("Exact copies of another image: 15 images of 240.")


@pytest.mark.parametrize("labelled", [True, False])
def test_a_better_baseline_is_told_by_accuracy_or_else_by_the_silhouette(make_run, labelled: bool):
    run = make_run(labelled=labelled)
    good = run.assignments.probs.argmax(dim=1)
    if labelled:
        good = torch.from_numpy(run.images.sealed_labels.values)
    run = replace(strangers(run), baseline=Baseline(features=good, pixels=good), neighbours=None)
    warnings = [warning for warning in advice_for(run) if warning.startswith("k-means on simclr features")]
    assert len(warnings) == 1
    assert ("is more accurate" in warnings[0]) == labelled
    assert ("keeps its clusters farther apart than scan" in warnings[0]) != labelled


def test_agreement_stands_in_the_metrics_and_is_that_of_the_scored_images(make_run):
    run = make_run()
    choice = choose(run.assignments.probs)
    prototypes = find_prototypes(run.assignments.embeddings, choice, 10)
    table = tabulate(run.images, run.assignments, choice, prototypes, None, {})
    metrics = summarise(run, table, None)
    scored = run.images.eval_index.numpy()
    same = table.cluster[run.neighbours.eval.numpy()] == table.cluster[scored][:, None]
    assert metrics["neighbour_agreement"] == pytest.approx(np.mean(same))
    assert "neighbour_agreement" not in summarise(replace(run, neighbours=None), table, None)
