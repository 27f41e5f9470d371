"""Each problem line once, from facts that are bad in one thing only."""

from dataclasses import replace

import pytest

from clusterlab.doctor.facts import Disk, Facts, Faiss, Gpu, Installation, Machine, Point, Requirement, Torch, WandB
from clusterlab.doctor.hints import hints
from clusterlab.doctor.page import page
from clusterlab.doctor.problems import CHECKS, problems

NUMPY = Requirement(name="numpy", wanted=">=2.0", extra=None, installed="2.4.6", fits=True)
WHEEL = Requirement(name="faiss-gpu", wanted=">=1.14.3", extra=None, installed="1.15.1", fits=True)
ONNX = Requirement(name="onnx", wanted="<2,>=1.23", extra="onnx", installed="1.23.2", fits=True)
H200 = Gpu(name="H200", memory=139.0, free=138.0, capability="9.0", supported=True)
GOOD = Facts(
    installation=Installation(
        python="3.11.7", wanted_python="<3.14,>=3.11", python_fits=True, clusterlab="0.1.0",
        requirements=(NUMPY, WHEEL, ONNX), versions={"faiss-gpu": "1.15.1", "pytorch-lightning": "2.6.6"},
    ),
    torch=Torch(
        error=None, version="2.15.0", built_for="CUDA 13.2", gpus=(H200,), accelerator="gpu", precision="bf16-mixed",
        backends=("gloo", "nccl"), threads=4,
    ),
    faiss=Faiss(wheels={"faiss-gpu": "1.15.1"}, error=None, gpus=1),
    machine=Machine(
        cores=4, load=0.5, memory=16.0, free_memory=12.0, shared_memory=8.0, open_files=1024, nvidia_devices=1,
        driver="580.65", environment={"OMP_NUM_THREADS": "4"},
    ),
    disk=Disk(stage_dir="outputs/stages", free=50.0, writable=True, unfinished=0, unfinished_size=0.0),
    wandb=WandB(version="0.31.0", has_key=False, mode=None, error=None),
    points=(Point(name="margin", value="acme.margin:Margin", group="clusterlab.students", error=None),),
)  # fmt: skip


def but(section, **changes):
    return replace(GOOD, **{section: replace(getattr(GOOD, section), **changes)})


def environment(**variables):
    return but("machine", environment=variables)


BAD = {
    "malicious": (
        but("installation", versions={"lightning": "2.6.3", "pytorch-lightning": "2.6.6"}),
        "lightning 2.6.3 is a release that steals keys: pip uninstall lightning, ",
    ),
    "malicious twin": (
        but("installation", versions={"pytorch-lightning": "2.6.2"}),
        "pytorch-lightning 2.6.2 is a release that steals keys: pip uninstall pytorch-lightning, ",
    ),
    "python": (
        but("installation", python="3.15.0", python_fits=False),
        "Python 3.15.0 runs, but clusterlab needs <3.14,>=3.11: make an environment",
    ),
    "packages missing": (
        but("installation", requirements=(replace(NUMPY, installed=None, fits=False),)),
        "numpy is not installed, but clusterlab needs >=2.0: pip install 'numpy>=2.0'",
    ),
    "packages of another version": (
        but("installation", requirements=(replace(NUMPY, installed="1.26.4", fits=False),)),
        "numpy 1.26.4 is installed, but clusterlab needs >=2.0: pip install 'numpy>=2.0'",
    ),
    "packages of an extra": (
        but("installation", requirements=(replace(ONNX, installed="1.17.0", fits=False),)),
        "onnx 1.17.0 is installed, but clusterlab[onnx] needs <2,>=1.23: pip install 'onnx<2,>=1.23'",
    ),
    "faiss twice": (
        but("faiss", wheels={"faiss-cpu": "1.13.0", "faiss-gpu": "1.15.1"}, error="AttributeError: Index"),
        "faiss-cpu 1.13.0 and faiss-gpu 1.15.1 are both installed and share one folder: "
        "pip uninstall faiss-cpu faiss-gpu, then pip install faiss-gpu",
    ),
    "faiss": (
        but("faiss", error="ImportError: libcudart.so.12"),
        "faiss cannot be imported (ImportError: libcudart.so.12): pip install --force-reinstall faiss-gpu",
    ),
    "torch": (
        replace(GOOD, torch=Torch(error="OSError: libgomp.so.1")),
        "torch cannot be imported (OSError: libgomp.so.1): pip install --force-reinstall torch torchvision",
    ),
    "torch for the CPU": (
        but("torch", gpus=(), built_for=None),
        "there is an NVIDIA GPU (driver 580.65), but torch 2.15.0 is for the CPU alone: install one for CUDA",
    ),
    "torch and the driver": (
        but("torch", gpus=(), complaint="The NVIDIA driver on your system is too old (found version 12020)."),
        "there is an NVIDIA GPU (driver 580.65), but torch 2.15.0 for CUDA 13.2 cannot use it (The NVIDIA driver on "
        "your system is too old (found version 12020).): install a newer driver, ",
    ),
    "torch and the GPU": (
        but("torch", gpus=(H200, replace(H200, name="K80", capability="3.7", supported=False))),
        "torch 2.15.0 for CUDA 13.2 has no code for GPU 1 (K80, compute capability 3.7): install another build",
    ),
    "threads": (
        environment(OMP_NUM_THREADS="64"),
        "OMP_NUM_THREADS=64, but 4 cores may be used: set it to 4 or less",
    ),
    "threads of MKL": (
        environment(MKL_NUM_THREADS="5"),
        "MKL_NUM_THREADS=5, but 4 cores may be used: set it to 4 or less",
    ),
    "threads that are no number": (
        environment(OMP_NUM_THREADS="many"),
        "OMP_NUM_THREADS=many is not a number of threads: set it to 4 or less",
    ),
    "memory": (
        but("machine", free_memory=0.7),
        "0.7 GiB of memory are free, and a small run needs 2: end other programmes",
    ),
    "shared_memory": (
        replace(but("torch", gpus=(H200, H200)), machine=replace(GOOD.machine, shared_memory=0.0625)),
        "/dev/shm holds 0.06 GiB, too little for trainer=ddp: start the container with --shm-size=1g",
    ),
    "files": (but("machine", open_files=64), "a process may have only 64 files open: ulimit -n 4096"),
    "disk": (
        but("disk", free=0.4),
        "0.4 GiB of disk are free for stage_dir=outputs/stages, and a run on 60,000 small images may need 2: free some",
    ),
    "disk that is read-only": (
        but("disk", writable=False),
        "nothing can be written to stage_dir=outputs/stages: choose another stage_dir=DIR",
    ),
    "wandb": (
        but("wandb", error="ImportError: protobuf"),
        "wandb cannot be imported (ImportError: protobuf): pip install --force-reinstall wandb, or use logger=none",
    ),
    "points": (
        replace(GOOD, points=(replace(GOOD.points[0], error="acme cannot be imported"),)),
        "entry point margin = acme.margin:Margin in clusterlab.students: acme cannot be imported",
    ),
}  # fmt: skip


def test_nothing_is_wrong_with_a_good_machine():
    assert problems(GOOD) == []
    assert hints(GOOD) == []
    assert page(GOOD, [], []).endswith("What is wrong\n  nothing")


@pytest.mark.parametrize("name", BAD)
def test_a_problem_is_one_line_that_names_what_to_change(name):
    facts, line = BAD[name]
    (found,) = problems(facts)
    assert found.startswith(line)
    assert page(facts, [found], []).endswith(f"What is wrong\n  {found}")


def test_every_check_has_a_machine_here_that_fails_it():
    assert {check.__name__ for check in CHECKS} == {name.split()[0] for name in BAD}


GOOD_TOO = {
    "an extra that is not installed": but(
        "installation", requirements=(replace(ONNX, installed=None, fits=False),)
    ),
    "no GPU at all": replace(
        GOOD, torch=replace(GOOD.torch, gpus=(), complaint="no driver"), faiss=replace(GOOD.faiss, gpus=0),
        machine=replace(GOOD.machine, nvidia_devices=0, driver=None),
    ),
    "no Linux": but("machine", load=None, memory=None, free_memory=None, shared_memory=None, open_files=None),
    "one GPU and little shared memory": but("machine", shared_memory=0.0625),
    "no wandb, which the requirements tell": but("wandb", version=None, error="ModuleNotFoundError"),
    "no faiss, which the requirements tell": but("faiss", wheels={}, error="ModuleNotFoundError"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_TOO)
def test_what_is_no_problem_is_not_told_as_one(name):
    facts = GOOD_TOO[name]
    assert problems(facts) == []
    assert page(facts, [], []).endswith("What is wrong\n  nothing")


def test_faiss_cpu_in_the_place_of_faiss_gpu_is_a_hint_that_does_not_lead_to_both():
    lacking = replace(GOOD.installation, requirements=(replace(WHEEL, installed=None, fits=False),))
    facts = replace(GOOD, installation=lacking, faiss=Faiss(wheels={"faiss-cpu": "1.13.0"}, error=None, gpus=1))
    assert problems(facts) == []
    assert hints(facts) == ["faiss-cpu serves in the place of faiss-gpu; to change it, pip uninstall faiss-cpu first"]
    without = replace(facts, faiss=Faiss(wheels={}, error="ModuleNotFoundError", gpus=0))
    assert problems(without)[0].startswith("faiss-gpu is not installed")


@pytest.mark.parametrize(
    ("facts", "hint"),
    [
        (but("installation", clusterlab=None), "clusterlab runs from a checkout that is not installed"),
        (but("faiss", gpus=0), "faiss sees no GPU"),
        (but("machine", load=9.0), "other programmes use the 4 cores (load 9.0): OMP_NUM_THREADS=1 "),
        (but("disk", unfinished=3, unfinished_size=1.24), "outputs/stages has 3 unfinished folders"),
        (
            replace(
                but("torch", gpus=()), machine=replace(GOOD.machine, environment={"CUDA_VISIBLE_DEVICES": ""})
            ),
            "CUDA_VISIBLE_DEVICES= hides the GPU",
        ),
    ],
)  # fmt: skip
def test_a_hint_is_a_line_and_no_problem(facts, hint):
    (found,) = hints(facts)
    assert found.startswith(hint)
    assert problems(facts) == []


def test_the_page_cannot_steer_a_terminal():
    facts = replace(GOOD, points=(Point(name="a\x1b[2Jb", value="x\ny", group="clusterlab.heads", error="\x07"),))
    shown = page(facts, problems(facts), ["\u202ehint"])
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    assert "x?y" in shown


def test_an_extra_that_lacks_a_package_says_how_to_install_it():
    facts = but("installation", requirements=(ONNX, replace(ONNX, name="onnxruntime", installed=None, fits=False)))
    assert "  onnx  missing onnxruntime: pip install 'clusterlab[onnx]'" in page(facts, [], [])
