from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, silhouette_score

from clusterlab.artifacts import Baseline, ClusterCount, Instances, PseudoLabels
from clusterlab.data.images import Labels
from clusterlab.evaluation.labels import true_labels
from clusterlab.output.finished import FinishedRun
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.summary import summarise
from clusterlab.output.table import tabulate

LABEL_KEYS = {"acc", "nmi", "ari", "many_to_one"}


def summary_of(run: FinishedRun) -> dict:
    choice, labels = choose(run.assignments.probs), true_labels(run.images)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    return summarise(run, tabulate(run.images, run.assignments, choice, prototypes, labels, {}), labels)


def with_clusters(run: FinishedRun, clusters: torch.Tensor, num_clusters: int) -> FinishedRun:
    probs = torch.nn.functional.one_hot(clusters, num_clusters).float()
    return replace(run, assignments=replace(run.assignments, probs=probs))


def relabelled(run: FinishedRun, values: np.ndarray) -> FinishedRun:
    return replace(run, images=replace(run.images, sealed_labels=Labels(values, tuple("0123456789"))))


def test_scores_are_of_the_eval_pool_only(make_run):
    run = make_run()
    scored = run.images.eval_index.numpy()
    classes, clusters = run.images.sealed_labels.values, run.assignments.probs.argmax(1).numpy()
    summary = summary_of(run)
    assert summary["num_scored"] == len(scored) == 60
    assert summary["ari"] == pytest.approx(adjusted_rand_score(classes[scored], clusters[scored]), abs=1e-12)
    assert summary["silhouette"] == pytest.approx(
        silhouette_score(run.assignments.embeddings.float()[scored], clusters[scored], metric="cosine"),
        abs=1e-5,
    )
    spoilt = classes.copy()
    spoilt[run.images.train_index.numpy()] = 0
    assert summary_of(relabelled(run, spoilt))["acc"] == summary["acc"]


def test_reliable_labels_are_counted_among_the_train_pool_and_scored_alone(make_run):
    run = make_run()
    train = run.images.train_index
    classes = torch.from_numpy(run.images.sealed_labels.values)
    given = torch.full((len(run.images),), -1)
    given[train[:90]] = (classes[train[:90]] + 3) % 10  # right, under other names
    given[train[:9]] = (classes[train[:9]] + 4) % 10
    summary = summary_of(replace(run, pseudo_labels=PseudoLabels(given, num_clusters=10)))["pseudo_labels"]
    assert (summary["count"], summary["share"]) == (90, 90 / len(train))
    assert summary["acc"] == pytest.approx(0.9)
    bare = summary_of(
        replace(run, pseudo_labels=PseudoLabels(given, num_clusters=10), images=replace(run.images, sealed_labels=None))
    )
    assert bare["pseudo_labels"].keys() == {"count", "share"}
    assert "pseudo_labels" not in summary_of(run)


def instances(predicted):
    return Instances(
        network={}, predicted=predicted, confidence=torch.ones(240), embeddings=torch.zeros(240, 2).half(),
        transitions=torch.tensor([[0, 3, 0], [1, 0, 0], [0, 7, 0]]), drawn=torch.arange(3),
        drawn_classes=torch.tensor([2, 0, 1]),
    )  # fmt: skip


def test_instance_classes_are_counted_and_their_purity_is_that_of_the_scored_images(make_run):
    run = make_run()
    scored, classes = run.images.eval_index, torch.from_numpy(run.images.sealed_labels.values)
    predicted = torch.full((240,), 2)
    predicted[scored] = (classes[scored] > 4).long()  # five labels in each of two classes, the third is not used
    large = sum(int(classes[scored][classes[scored] // 5 == half].bincount().max()) for half in (0, 1))
    summary = summary_of(replace(run, instances=instances(predicted)))["instance_classes"]
    assert summary == {"count": 3, "used": 2, "transitions": 11, "purity": pytest.approx(large / 60)}
    pure = summary_of(replace(run, instances=instances(classes)))["instance_classes"]
    assert (pure["used"], pure["purity"]) == (10, 1.0)
    bare = replace(run, instances=instances(predicted), images=replace(run.images, sealed_labels=None))
    assert summary_of(bare)["instance_classes"] == {"count": 3, "used": 2, "transitions": 11}
    assert "instance_classes" not in summary_of(run)


def test_what_speaks_for_a_counted_number_of_clusters_is_told(make_run):
    count = ClusterCount(
        tried=torch.tensor([8, 9, 10, 11]), silhouette=torch.tensor([0.5, 0.69, 0.7, 0.6]),
        stability=torch.tensor([0.9, 0.8, 0.75, 0.2]), chosen=10,
    )  # fmt: skip
    summary = summary_of(make_run(count=count))
    assert summary["cluster_count"]["chosen"] == 10
    assert summary["cluster_count"]["tried"] == [8, 9, 10, 11]
    assert "0.700; 9 would do nearly as well" in summary["cluster_count"]["reason"]
    assert "adjusted Rand index of 0.75" in summary["cluster_count"]["reason"]
    assert "cluster_count" not in summary_of(make_run())


def test_the_row_of_a_student_that_was_given_labels_says_so_and_changes_no_other(make_run):
    run = make_run()
    classes = torch.from_numpy(run.images.sealed_labels.values)
    oracle = replace(run.stages[-1], name="oracle", part="fixmatch", seconds=2.34567, clusters=(classes + 1) % 10)
    plain, summary = summary_of(run), summary_of(replace(run, oracle=oracle))
    row = summary.pop("oracle")
    assert summary == plain
    assert row["uses_labels"] is True
    assert row["name"] == "fixmatch on true labels of the same images (uses labels)"
    assert (row["acc"], row["ari"], row["seconds"]) == (1.0, 1.0, 2.346)
    assert row["silhouette"] == pytest.approx(
        silhouette_score(
            run.assignments.embeddings.float()[run.images.eval_index], classes[run.images.eval_index], metric="cosine"
        ),
        abs=1e-5,
    )


def test_protocol_all_scores_every_image(make_run):
    run = make_run()
    run = replace(run, images=replace(run.images, protocol="all"))
    summary = summary_of(replace(run, neighbours=None))
    assert (summary["protocol"], summary["num_scored"]) == ("all", 240)


def test_both_baselines_are_scored_alike(make_run):
    run = make_run()
    classes = torch.from_numpy(run.images.sealed_labels.values)
    summary = summary_of(replace(run, baseline=Baseline(features=classes, pixels=classes * 0)))
    assert summary["baseline"]["name"] == "k-means on simclr features"
    assert summary["baseline"]["acc"] == summary["baseline"]["ari"] == 1.0
    assert summary["pixel_baseline"]["ari"] == 0.0
    assert summary["pixel_baseline"]["silhouette"] is None


def test_stages_that_assign_clusters_have_scores(make_run):
    features, head = summary_of(make_run())["stages"]
    assert features == {
        "name": "features",
        "part": "simclr",
        "key": "0123456789ab",
        "seconds": 75.25,
        "cached": True,
    }
    assert head["acc"] == summary_of(make_run())["acc"]


def test_without_labels_no_score_of_agreement_appears_anywhere(make_run):
    summary = summary_of(make_run(labelled=False))
    assert not LABEL_KEYS & summary.keys()
    assert not any(LABEL_KEYS & row.keys() for row in [summary["baseline"], *summary["stages"]])
    assert "neighbour_purity" not in summary
    assert summary["silhouette"] > 0


def test_without_labels_among_the_scored_images_there_is_no_score(make_run):
    run = make_run()
    values = run.images.sealed_labels.values.copy()
    values[run.images.eval_index.numpy()] = -1
    summary = summary_of(relabelled(run, values))
    assert not LABEL_KEYS & summary.keys()
    assert any("without a label: 60 images" in warning for warning in summary["warnings"])


def test_unlabelled_samples_are_left_out_and_named(make_run):
    run = make_run()
    values, scored = run.images.sealed_labels.values.copy(), run.images.eval_index.numpy()
    values[scored[:7]] = -1
    summary = summary_of(relabelled(run, values))
    clusters = run.assignments.probs.argmax(1).numpy()
    assert summary["ari"] == pytest.approx(adjusted_rand_score(values[scored[7:]], clusters[scored[7:]]), abs=1e-12)
    assert any(warning.endswith("without a label: 7 images.") for warning in summary["warnings"])


def test_collapse_names_the_setting_that_the_head_has(make_run):
    run = with_clusters(make_run(), torch.zeros(240, dtype=torch.int64), 10)
    summary = summary_of(run)
    assert (summary["used_clusters"], summary["largest_share"], summary["entropy"]) == (1, 1.0, 0.0)
    assert summary["silhouette"] is None
    assert "a head.entropy_weight above 5" in summary["warnings"][0]
    other = summary_of(replace(run, config={"head": {"name": "spice"}, "features": None}))
    assert "entropy_weight" not in other["warnings"][0]


def test_clusters_that_the_last_stage_lost_are_laid_to_its_charge(make_run):
    run = with_clusters(make_run(), torch.arange(240) % 4, 10)
    head = run.stages[-1]
    student = replace(head, name="student", part="selflabel", clusters=torch.arange(240) % 4)
    before = replace(head, clusters=torch.arange(240) % 10)
    summary = summary_of(replace(run, stages=[run.stages[0], before, student]))
    assert "a lower student.optimiser.lr (before it, head still used 10 clusters)" in summary["warnings"][0]


def test_a_better_baseline_is_named(make_run):
    run = make_run()
    classes = torch.from_numpy(run.images.sealed_labels.values)
    warnings = summary_of(replace(run, baseline=Baseline(features=classes, pixels=classes)))["warnings"]
    assert warnings[0].startswith("k-means on simclr features is more accurate (100.0%) than scan")
    assert len(warnings) == 2


def test_images_that_leak_between_the_splits_are_named(make_run):
    run = make_run()
    run.images.pixels[3] = run.images.pixels[0]  # test like train
    run.images.pixels[5] = run.images.pixels[1]  # train like train
    summary = summary_of(run)
    assert summary["duplicates"] == 2
    assert any(warning.startswith("In both splits, pixel for pixel: 1 image.") for warning in summary["warnings"])


def test_a_twin_in_the_unlabelled_split_flatters_no_score(make_run):
    run = make_run()
    splits = ("train", "train", "train", "test", "unlabeled", *run.images.splits[5:])
    run = replace(run, images=replace(run.images, splits=splits), neighbours=None)
    run.images.pixels[4] = run.images.pixels[3]
    summary = summary_of(run)
    assert summary["duplicates"] == 1
    assert not any("In both splits" in warning for warning in summary["warnings"])


def test_unreadable_files_are_counted_and_named(make_run):
    run = make_run()
    run = replace(run, images=replace(run.images, unreadable=(("a.jpg", "truncated"), ("b.jpg", "empty"))))
    summary = summary_of(run)
    assert summary["unreadable"] == 2
    assert "Left out, because unreadable: 2 files." in summary["warnings"]


def test_the_recall_of_an_approximate_search_is_told_and_of_an_exact_one_nothing(make_run):
    run = make_run()
    assert "neighbour_recall" not in summary_of(run)
    approximate = replace(run, neighbours=replace(run.neighbours, recall=0.975))
    assert summary_of(approximate)["neighbour_recall"] == 0.975


def test_a_run_without_baseline_and_neighbours_says_nothing_of_them(make_run):
    summary = summary_of(replace(make_run(), baseline=None, neighbours=None, features=None))
    assert not {"baseline", "pixel_baseline", "neighbour_purity"} & summary.keys()


def test_versions_name_what_made_the_result(make_run):
    versions = summary_of(make_run())["versions"]
    assert versions["torch"].startswith(torch.__version__.split("+")[0])
    assert {"python", "clusterlab", "torchvision", "pytorch_lightning", "faiss", "numpy"} <= versions.keys()
