import base64
import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from clusterlab.artifacts import ClusterCount, Projection, PseudoLabels
from clusterlab.data.images import Labels
from clusterlab.evaluation.labels import true_labels
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.summary import summarise
from clusterlab.output.table import tabulate
from inert import Page, assert_inert
from pages import data_of, page_of


def test_the_page_needs_nothing_else(make_run):
    html = page_of(make_run())
    assert_inert(html)
    assert "default-src 'none'" in html


def test_the_policy_allows_the_one_script_by_its_hash_and_no_other(make_run):
    html = page_of(make_run())
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    (policy,) = (meta["content"] for meta in Page(html).all("meta") if meta.get("http-equiv"))
    assert [rule.split() for rule in policy.split("; ") if rule.startswith("script-src")] == [
        ["script-src", f"'sha256-{hashed}'"]
    ]
    assert "unsafe-eval" not in policy


def test_names_stand_wherever_the_cluster_is_spoken_of(make_run):
    page = Page(page_of(make_run(), {2: "twos & <b>more</b>", 3: "\ud800"}))
    fields = {field["data-typed"]: field for field in page.all("input")}
    assert fields["2"]["value"] == "twos & <b>more</b>"
    assert fields["3"]["value"] == "?"  # a page in UTF-8 cannot hold half a character
    assert fields["1"]["value"] == ""
    # The bars, the card, the legend, the dots, the map in words at least once, the confusion.
    assert page.text.count("twos & <b>more</b>") >= 6
    assert "Cluster 2" not in page.text
    assert page.text.count("Cluster 1") >= 4


def test_the_page_says_where_names_are_kept(make_run):
    text = re.sub(r"\s+", " ", Page(page_of(make_run())).text)
    assert "in the file names.yaml beside this page, in the folder of the run" in text
    assert data_of(page_of(make_run()))["result"] == "head-scan-ba9876543210"


def test_cards_tell_the_agreement_of_neighbours_where_there_are_some(make_run):
    assert Page(page_of(make_run())).text.count("; agreement ") == 10
    bare = Page(page_of(make_run(neighbours=None))).text
    assert "; agreement " not in bare
    assert "Agreement," not in bare
    assert "Very near" not in bare


def test_the_labels_that_a_student_started_from_are_told(make_run):
    run = make_run()
    given = torch.full((len(run.images),), -1)
    given[run.images.train_index[:45]] = 2
    text = re.sub(r"[ \n]+", " ", Page(page_of(replace(run, pseudo_labels=PseudoLabels(given, num_clusters=10)))).text)
    assert "The student started from 45 reliable labels (25.0\u00a0% of the images), of which" in text
    assert "The student started" not in Page(page_of(run)).text


def test_a_counted_number_of_clusters_comes_with_its_reasons(make_run):
    tried = torch.arange(2, 6)
    count = ClusterCount(tried=tried, silhouette=0.1 * tried, stability=1 - 0.1 * tried, chosen=5)
    html = page_of(make_run(count=count))
    assert_inert(html)
    text = re.sub(r"[ \n]+", " ", Page(html).text)
    assert "How many clusters Into 5 clusters the features fall best" in text
    assert "5 clusters: 0.500, chosen" in text
    assert "2 clusters: 0.200" in text
    assert "How many clusters" not in Page(page_of(make_run())).text


def test_a_row_that_uses_labels_says_so(make_run):
    run = make_run()
    oracle = replace(run.stages[-1], name="oracle", part="fixmatch")
    text = re.sub(r"[ \n]+", " ", Page(page_of(replace(run, oracle=oracle))).text)
    assert "and, using labels, what the student would be with true ones." in text
    assert "fixmatch on true labels of the same images (uses labels)" in text
    assert "using labels" not in Page(page_of(run)).text


def test_headline_numbers_stand_beside_the_baseline(make_run):
    run = make_run()
    text = re.sub(r"[ \n]+", " ", Page(page_of(run)).text)  # leaves spaces that do not break
    choice, labels = choose(run.assignments.probs), true_labels(run.images)
    prototypes = find_prototypes(run.assignments.embeddings, choice, 10)
    metrics = summarise(run, tabulate(run.images, run.assignments, choice, prototypes, labels, {}), labels)
    own, rival = 100 * metrics["acc"], 100 * metrics["baseline"]["acc"]
    assert f"Accuracy{own:.1f}\u00a0% k-means on simclr features: {rival:.1f}\u00a0%" in text
    assert "scan on digits" in text
    assert "scored on the 60 of the test split. Seed 3." in text


def test_it_can_be_read_aloud(make_run):
    page = Page(page_of(make_run()))
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("h1")) == 1
    assert page.all("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = {name for _, attributes in page.elements for name in (attributes.get("aria-labelledby") or "").split()}
    assert named <= set(ids)
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in ids}


def test_every_cluster_has_a_card_and_a_bar(make_run):
    page = Page(page_of(make_run()))
    assert {f"cluster-{c}" for c in range(10)} == {card["id"] for card in page.all("article")}
    assert {f"#cluster-{c}" for c in range(10)} <= {link["href"] for link in page.all("a")}


def test_curves_and_stages_are_shown(make_run):
    page = Page(page_of(make_run()))
    assert any("features: loss from 0.3333 to 4" in (svg.get("aria-label") or "") for svg in page.all("svg"))
    assert "1 min 15 s" in page.text
    assert "0123456789ab" in page.text


def test_without_labels_nothing_speaks_of_classes(make_run):
    html = page_of(make_run(labelled=False))
    text = Page(html).text
    assert not re.search(r"accuracy|classes|mix-ups|\bNMI\b|\bARI\b", text, re.IGNORECASE)
    assert "No label was used." in text
    assert "silhouette" in text


def test_warnings_come_first(make_run):
    run = make_run()
    run = replace(run, images=replace(run.images, unreadable=(("bad/x.jpg", "truncated"),)))
    text = Page(page_of(run)).text
    assert text.index("unreadable: 1 file.") < text.index("Compared with k-means")
    assert "bad/x.jpg: truncated" in text


HOSTILE = ['<script>alert(1)</script>.png', '"><img src=x onerror=alert(1)>.png', "{{ 7 * 7 }}{% raw %}.png",
           "</style><script>1</script>", "javascript:alert(1)", "a\udcff\u202egnp.exe"]  # fmt: skip


def test_hostile_names_are_text(make_run):
    ids = tuple(HOSTILE[i] if i < len(HOSTILE) else f"{i}.png" for i in range(24))
    run = make_run(24, ids=ids, num_clusters=2)
    run.images.pixels[1] = run.images.pixels[0]
    labels = Labels(run.images.sealed_labels.values % 2, (HOSTILE[0], HOSTILE[1]))
    broken = tuple((name, name) for name in HOSTILE)
    run = replace(
        run,
        images=replace(run.images, sealed_labels=labels, unreadable=broken),
        data=HOSTILE[0],
        method=HOSTILE[1],
        features=HOSTILE[3],
        config={"data": {"root": HOSTILE[0]}, HOSTILE[1]: 1},
    )
    html = page_of(run, {0: HOSTILE[0], 1: HOSTILE[5]})
    assert_inert(html)
    html.encode("utf-8")
    assert HOSTILE[0] in data_of(html)["map"]["ids"]
    assert data_of(html)["names"]["0"] == HOSTILE[0]
    assert len(Page(html).all("style")) == 1
    text = Page(html).text
    assert all(name in text for name in HOSTILE[:5])
    assert "a\\udcff\\u202egnp.exe" in text


def test_many_clusters_and_classes_stay_readable(make_run):
    run = make_run(240, num_clusters=40)
    labels = Labels(np.arange(240) % 35, tuple(f"class {i}" for i in range(35)))
    html = page_of(replace(run, images=replace(run.images, sealed_labels=labels)))
    assert_inert(html)
    assert "Share of each of 35 classes (rows) in each of 40 clusters (columns)" in html
    assert "many-to-one" in html


@pytest.mark.parametrize("points", [None, Projection(points=torch.full((240, 2), torch.nan))])
def test_without_coordinates_there_is_no_map(make_run, points: Projection | None):
    assert 'id="map"' in page_of(make_run())
    assert 'id="map"' not in page_of(replace(make_run(), projection=points))


def test_images_that_were_not_drawn_are_not_on_the_map(make_run):
    run = make_run()
    points = run.projection.points.clone()
    points[100:] = torch.nan
    assert "Map of 100 images" in page_of(replace(run, projection=Projection(points=points)))


def test_all_in_one_cluster_still_makes_a_page(make_run):
    run = make_run()
    given = run.assignments
    probs = torch.nn.functional.one_hot(torch.zeros(240, dtype=torch.int64), 10).float()
    html = page_of(replace(run, assignments=replace(given, probs=probs)))
    assert_inert(html)
    assert "the clusters have collapsed" in html
    assert "0 images" in html
