"""What is installed from the wheel is whole: code, configs, and the page of the report."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARK = 424_242


def files_below(folder: Path, pattern: str) -> dict[str, bytes]:
    found = (path for path in folder.rglob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def sources():
    """What the wheel has to hold, by its path there; read before it is built."""
    configs = {f"clusterlab/conf/{name}": content for name, content in files_below(ROOT / "conf", "*.yaml").items()}
    return configs | {f"clusterlab/{name}": c for name, c in files_below(ROOT / "src" / "clusterlab", "*").items()}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, sources):
    """The wheel, built without a network, as pip would lay it out."""
    built, folder = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("unpacked")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built), str(ROOT)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = built.glob("clusterlab-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_the_wheel_holds_every_config_and_every_file_of_the_package(sources, unpacked):
    inside = files_below(unpacked, "*")
    assert {"clusterlab/conf/config.yaml", "clusterlab/output/report.html.jinja"} <= sources.keys()
    assert {"clusterlab/conf/method/scan.yaml", "clusterlab/output/report.css"} <= sources.keys()
    assert sorted(sources.keys() - inside.keys()) == []
    assert [name for name in sources if inside[name] != sources[name]] == []


def test_the_wheel_holds_nothing_but_the_package_and_its_licence(unpacked):
    tops = {name.split("/")[0].split("-")[0] for name in files_below(unpacked, "*")}
    assert tops == {"clusterlab"}
    assert any(name.endswith("/LICENSE") for name in files_below(unpacked, "*"))


def test_the_command_from_the_wheel_reads_the_configs_of_the_wheel(tmp_path, unpacked):
    shutil.copytree(unpacked, tmp_path / "site")
    config = tmp_path / "site" / "clusterlab" / "conf" / "config.yaml"
    marked = config.read_text(encoding="utf-8").replace("\nseed: 0\n", f"\nseed: {MARK}\n")
    assert str(MARK) in marked
    config.write_text(marked, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-m", "clusterlab", "--cfg", "job"],
        cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"seed: {MARK}" in done.stdout
    assert "name: simclr" in done.stdout
