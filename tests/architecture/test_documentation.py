"""The documentation as a site: its links lead somewhere, and it needs no network."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from browser import CHROMIUM, DRIVER, MISSING, Browser

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
SETTING = re.compile(r"(?<![\w./@~-])([a-z_]+(?:\.[a-z_]+)+)(?==|`)")
"""What is typed with a value, or stands alone between backticks."""
FETCHED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "link": "href"}


def below(values, prefix=""):
    """Names of all settings, and of what holds some, as they are typed."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from below(value, f"{prefix}{name}.")


def settings_in(folder: str, prefix: str) -> set[str]:
    read = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONF / folder).rglob("*.yaml")]
    return {name for values in read for name in below(values, prefix)}


@pytest.fixture(scope="module")
def settings():
    found = set(below(yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))))
    found |= settings_in("method", "") | settings_in("data/views", "data.views.")
    for group in ("backbone", "data", "features", "head", "student", "trainer"):
        found |= settings_in(group, f"{group}.")
    for path in (CONF / "computed").glob("*.yaml"):
        found |= set(below({path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))}))
    found |= {name.replace("backbone.", "student.backbone.", 1) for name in found if name.startswith("backbone.")}
    return found | {name.replace("head.", "adapted.", 1) for name in found if name.startswith("head.")}


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Without --quiet, which hides warnings from --strict, too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = build(ROOT, folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Fetched(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if value and name == FETCHED.get(tag)]


def test_every_link_and_anchor_leads_somewhere_and_every_page_is_in_the_navigation(site):
    assert (site / "index.html").is_file()


def test_no_page_fetches_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        reader = Fetched()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.addresses
        assert [address for address in reader.addresses if re.match(r"[a-z]+:|//", address)] == [], page.name


@pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason=MISSING)
def test_the_search_finds_pages_without_a_server(site, tmp_path):
    browser = Browser(tmp_path)
    try:
        browser.driver.get((site / "index.html").as_uri())
        browser.driver.implicitly_wait(20)
        browser.run("document.querySelector('.md-search__input').focus()")
        browser.one(".md-search__input").send_keys("troubleshooting")
        found = browser.one(".md-search-result__item a")
        assert found.get_attribute("href").split("?")[0] == (site / "troubleshooting.html").as_uri()
        assert browser.complaints() == []
        assert [address for address in browser.requests() if not address.startswith("file:")] == []
    finally:
        browser.close()


def test_no_style_sheet_fetches_anything_from_elsewhere(site):
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_links_of_the_readme_and_to_files_of_the_repository_become_those_of_the_site(site):
    assert 'href="quick-start.html"' in (site / "index.html").read_text(encoding="utf-8")
    assert 'href="contributing.html"' in (site / "index.html").read_text(encoding="utf-8")
    results = "repository/benchmarks/results/digits-scan.json"
    assert f'href="{results}"' in (site / "results.html").read_text(encoding="utf-8")
    assert (site / results).read_bytes() == (ROOT / "benchmarks/results/digits-scan.json").read_bytes()


def test_a_link_that_leads_nowhere_fails_the_build_and_is_named(tmp_path):
    for name in ("docs", "benchmarks", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    wrong = {
        "README.md": ("quick-start.md", "benchmarks", "docs/scale.md#anchor-1"),
        "docs/predict.md": ("nowhere.md", "scale.md#anchor-2", "#anchor-3", "../benchmarks/nowhere.json"),
    }
    for page, links in wrong.items():
        with (tmp_path / page).open("a", encoding="utf-8") as file:
            file.writelines(f"\n[text]({link})\n" for link in links)
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode == 1
    for page, links in wrong.items():
        for link in links:
            said = f"#{link.split('#')[1]}'" if "#" in link else f"{page} links to {link},"
            assert said in built.stderr


def test_every_setting_that_the_documentation_names_exists(settings):
    sections = {name.split(".")[0] for name in settings if "." in name} - {"hydra"}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, name)
        for page in pages
        if not page.name.startswith("adding-a-")  # of parts that they write themselves
        for name in SETTING.findall(page.read_text(encoding="utf-8"))
        if name.split(".")[0] in sections and not name.endswith(".py")
    }
    assert len(named) > 150
    assert [(page, name) for page, name in sorted(named) if name not in settings] == []
