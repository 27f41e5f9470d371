import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from clusterlab.artifacts import ClusterCount, Projection, PseudoLabels
from clusterlab.data.images import Labels
from clusterlab.evaluation.labels import true_labels
from clusterlab.output.finished import FinishedRun
from clusterlab.output.prototypes import choose, find_prototypes
from clusterlab.output.report import render
from clusterlab.output.summary import summarise
from clusterlab.output.table import tabulate

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(run: FinishedRun) -> str:
    choice, labels = choose(run.assignments.probs), true_labels(run.images)
    prototypes = find_prototypes(run.assignments.embeddings, choice, run.num_clusters)
    table = tabulate(run.images, run.assignments, choice, prototypes, labels, {})
    return render(run, table, prototypes, labels, summarise(run, table, labels))


def assert_inert(html: str) -> None:
    """No script, and nothing that is fetched."""
    assert "http://" not in html
    assert "https://" not in html
    for tag, attributes in Page(html).elements:
        assert tag not in {"script", "iframe", "object", "embed", "link", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "poster", "action", "xlink:href"}:
                assert (value or "").startswith(("data:image/webp;base64,", "#"))
    assert not re.search(r"url\(|@import", html)


def test_the_page_needs_nothing_else(make_run):
    html = page_of(make_run())
    assert_inert(html)
    assert "default-src 'none'" in html


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
    text = Page(html.split("</style>")[1]).text
    assert not re.search("accuracy|classes|mix-ups|NMI|ARI", text, re.IGNORECASE)
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
    html = page_of(run)
    assert_inert(html)
    html.encode("utf-8")
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


def console_of(path: Path, tmp_path: Path) -> list[str]:
    """What a browser says about a page."""
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
            f"--user-data-dir={tmp_path / 'profile'}", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "</html>" in done.stdout
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_has_nothing_to_complain_about(make_run, tmp_path: Path):
    page, broken = tmp_path / "report.html", tmp_path / "broken.html"
    html = page_of(make_run())
    page.write_text(html, encoding="utf-8")
    broken.write_text(html.replace("</main>", "<script>alert(1)</script></main>"), encoding="utf-8")
    assert console_of(page, tmp_path) == []
    assert len(console_of(broken, tmp_path)) == 1  # the policy stops a script, and this test would see it
