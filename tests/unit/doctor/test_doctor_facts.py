import os
import sys
from pathlib import Path

import pytest

from clusterlab.doctor import machine, packages

METADATA = """\
Metadata-Version: 2.1
Name: clusterlab
Version: 9.9
Requires-Python: >=99
Requires-Dist: numpy>=2.0
Requires-Dist: torch>=99
Requires-Dist: nowhere-to-be-found<2
Requires-Dist: only-elsewhere; sys_platform == 'nowhere'
Provides-Extra: onnx
Requires-Dist: scipy>=1; extra == 'onnx'
Provides-Extra: dev
Requires-Dist: pytest>=99; extra == 'dev'
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Adds distributions in front of those that are installed: name → METADATA and entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(name, metadata, points=""):
        about = tmp_path / f"{name.replace('-', '_')}-9.9.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(metadata, encoding="utf-8")
        (about / "entry_points.txt").write_text(points, encoding="utf-8")

    return add


def test_requirements_are_those_of_the_installed_metadata(site):
    site("clusterlab", METADATA)
    found = packages.installation()
    assert (found.clusterlab, found.wanted_python, found.python_fits) == ("9.9", ">=99", False)
    by_name = {wanted.name: (wanted.extra, wanted.fits) for wanted in found.requirements}
    assert by_name == {
        "numpy": (None, True), "torch": (None, False), "nowhere-to-be-found": (None, False), "scipy": ("onnx", True),
    }  # fmt: skip
    assert {wanted.name: wanted.installed for wanted in found.requirements}["nowhere-to-be-found"] is None


def test_without_metadata_no_requirement_is_known(monkeypatch):
    def nothing(name):
        raise packages.PackageNotFoundError(name)

    monkeypatch.setattr(packages, "distribution", nothing)
    found = packages.installation()
    assert (found.clusterlab, found.requirements, found.python_fits) == (None, (), True)


def test_both_wheels_of_faiss_and_lightning_are_seen(site):
    for name, version in (("faiss-cpu", "1.8"), ("faiss-gpu", "1.14.3"), ("lightning", "2.6.2")):
        site(name, f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    assert packages.faiss().wheels == {"faiss-gpu": "1.14.3", "faiss-cpu": "1.8"}
    assert packages.installation().versions["lightning"] == "2.6.2"


@pytest.mark.parametrize(
    ("read", "name"), [(packages.faiss, "faiss"), (packages.wandb, "wandb"), (machine.torch, "torch")]
)
def test_a_package_that_cannot_be_imported_is_a_fact_and_no_traceback(monkeypatch, read, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert read().error.startswith("ModuleNotFoundError: ")


@pytest.mark.parametrize(
    ("points", "error"),
    [
        ("[clusterlab.students]\nlead = nowhere:Lead", "cannot be imported: ModuleNotFoundError"),
        ("[clusterlab.students]\nlead = pathlib:Path", "is not a Stage"),
        ("[clusterlab.students]\nfixmatch = pathlib:Path", "student=fixmatch is in clusterlab"),
        ("[clusterlab.student]\nlead = pathlib:Path", "clusterlab.student is no group of entry points; groups: "),
        ("[clusterlab.conf]\nacme = pathlib", "the package pathlib has no folder conf"),
        ("[clusterlab.students]\nlead = clusterlab.students.fixmatch:FixMatch", None),
    ],
)
def test_entry_points_of_other_packages_are_tried(site, points, error):
    site("acme", "Metadata-Version: 2.1\nName: acme\nVersion: 1\n", points)
    (found,) = (point for point in packages.points() if point.name in points and point.value in points)
    assert found.error is None if error is None else error in found.error


@pytest.mark.parametrize(
    ("capability", "built", "has"),
    [
        ((9, 0), ["sm_75", "sm_90"], True),
        ((8, 9), ["sm_80"], True),
        ((9, 0), ["sm_75", "sm_80"], False),
        ((3, 7), ["sm_75", "compute_75"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((10, 3), ["sm_100a"], True),
        ((9, 4), ["gfx942"], True),
        ((9, 0), [], True),
    ],
)
def test_a_build_has_code_for_a_gpu_of_the_same_or_a_lower_capability(capability, built, has):
    assert machine._has_code(capability, built) is has


def limits(tmp_path, monkeypatch, **files):
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    return machine.machine()


def test_a_containers_limits_are_the_machines(tmp_path, monkeypatch):
    found = limits(
        tmp_path, monkeypatch, cpu_max="50000 100000\n", memory_max=f"{2**30}\n", memory_current=f"{2**29}\n",
        memory_stat=f"anon 1\ninactive_file {2**28}\n",
    )  # fmt: skip
    assert (found.cores, found.memory, found.free_memory) == (1, 1.0, 0.75)


def test_without_limits_all_that_the_process_may_use_counts(tmp_path, monkeypatch):
    found = limits(
        tmp_path, monkeypatch, cpu_max="max 100000\n", memory_max="max\n", memory_current="5\n", memory_stat=""
    )
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.memory > 1


def test_unfinished_stages_are_counted_where_they_lie(tmp_path):
    for name in ("head-scan-1.work", "images/images-2.part", "head-scan-3"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 2**20)
    found = machine.disk(tmp_path)
    assert (found.unfinished, found.unfinished_size) == (2, 2 / 1024)
    assert found.writable
    assert found.free > 0


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_that_would_hold_it(tmp_path):
    found = machine.disk(tmp_path / "not" / "yet")
    assert found.writable
    (tmp_path / "file").touch()
    assert not machine.disk(tmp_path / "file" / "below").writable


def test_the_usual_place_is_that_of_the_config():
    assert machine.usual_stage_dir() == Path("outputs/stages")
