"""Hostile files: what somebody else wrote runs no code, and nothing leaves its folder."""

import io
import logging
import os
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clusterlab.__main__ import main
from clusterlab.checksums import seal
from clusterlab.data.decode import UnreadableImageError, decode_file
from clusterlab.data.shards import MAX_IMAGE_BYTES, Span, decode
from clusterlab.data.tree import read_tree
from clusterlab.errors import UserError
from clusterlab.inert_configs import see_inert
from clusterlab.models.checkpoints import read_tensors
from clusterlab.output.model_folder import FORMAT
from clusterlab.output.names import read_names
from clusterlab.predict.load import load
from clusterlab.run import logging_to

RUN = "!!python/object/apply:os.mkdir [ran]"
CONFIGS = {
    "a callback of Hydra's": "hydra: {callbacks: {x: {_target_: os.mkdir, path: ran}}}",
    "a variable for other programmes": "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}",
    "logging that calls something": "hydra: {job_logging: {version: 1, root: {handlers: [x]}, handlers: "
    "{x: {(): logging.FileHandler, filename: ran}}}}",
    "logging that resolves a name": "hydra: {hydra_logging: {version: 1, root: {handlers: [x]}, handlers: "
    "{x: {class: logging.StreamHandler, stream: 'ext://evil.stream'}}}}",
    "a sweeper of its own": "hydra: {sweeper: {_target_: evil.Sweeper}}",
    "a launcher behind an interpolation": "evil: {_target_: os.mkdir}\nhydra: {launcher: {x: '${evil}'}}",
    "a target in a part": "head: {_target_: os.mkdir, path: ran}",
    "a tag of Python's": f"seed: {RUN}",
    "a resolver that nobody registered": "seed: ${eval:1+1}",
}


NINE = "[" + ", ".join(["{}"] * 9) + "]"
LAUGHS = "\n".join(
    [
        "a0: &a0 x",
        *(f"a{n}: &a{n} {NINE.replace('{}', f'*a{n - 1}')}" for n in range(1, 10)),
        "result: *a9",
        "names: {0: a}",
    ]
)
"""A few lines that are hundreds of millions of values."""
TOO_LARGE = {
    "aliases of aliases": LAUGHS,
    "a list that holds itself": "result: &a [*a]\nnames: {0: a}",
    "endless nesting": "[" * 100_000,
    "a hundred thousand values": f"result: [{'x,' * 100_000}]",
    "two million characters": f"result: {'x' * 2_000_000}",
}


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Whatever runs makes a folder `ran` there."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_from_elsewhere_runs_nothing(kind, tmp_path, monkeypatch, capfd):
    """A hostile experiment file: one line and exit code 2, before anything runs"""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "evil.yaml").write_text(f"# @package _global_\n{CONFIGS[kind]}\n")
    words = ["--config-dir", str(tmp_path / "conf"), "experiment=evil", "data=folder", "data.root=nowhere"]
    monkeypatch.setattr(sys, "argv", ["clusterlab", *words, "num_clusters=3"])
    with pytest.raises(SystemExit) as end:
        main()
    output = "".join(capfd.readouterr())
    assert end.value.code == 2, output
    assert "Traceback" not in output
    assert "data.root=nowhere does not exist" not in output  # it was not taken


@pytest.mark.parametrize("place", ["experiment", "part", "config-name", "searchpath", "sweep"])
@pytest.mark.parametrize("kind", TOO_LARGE)
def test_a_config_that_becomes_too_large_is_refused_at_once(kind, place, tmp_path, monkeypatch, capfd):
    """Aliases of aliases, endless nesting, files too large in a config from elsewhere: its name, in a second"""
    folder, group = tmp_path / "conf", {"part": "head", "config-name": ""}.get(place, "experiment")
    (folder / group).mkdir(parents=True)
    (folder / group / "evil.yaml").write_text(TOO_LARGE[kind])
    words = {
        "part": ["--config-dir", str(folder), "head=evil"],
        "config-name": ["--config-dir", str(folder), "--config-name", "evil"],
        "searchpath": [f"hydra.searchpath=[file://{folder}]", "experiment=evil"],
        "sweep": ["-m", "--config-dir", str(folder), "experiment=evil", "seed=0,1"],
    }
    monkeypatch.setattr(
        sys, "argv", ["clusterlab", *words.get(place, ["--config-dir", str(folder), "experiment=evil"])]
    )
    began = time.monotonic()
    with pytest.raises(SystemExit) as end:
        main()
    output = "".join(capfd.readouterr())
    assert end.value.code == 2, output
    assert time.monotonic() - began < 5  # 1 where nothing else runs
    (line,) = output.splitlines()
    assert f"{Path(folder, group, 'evil.yaml')} h" in line


def hydra_with(**changes):
    usual = {"callbacks": {}, "job": {"env_set": {}}, "hydra_logging": None, "job_logging": {"version": 1},
             "launcher": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
             "sweeper": {"_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
                         "sampler": {"_target_": "optuna.samplers.TPESampler", "seed": 1},
                         "custom_search_space": None}}  # fmt: skip
    return usual | changes


def test_what_a_person_types_and_what_hydra_brings_is_left_alone():
    """Launchers, sweepers and searches of installed plugins, and callbacks that were typed, still work"""
    see_inert(hydra_with(), [])
    mine = hydra_with(callbacks={"x": {"_target_": "my.Callback"}}, job={"env_set": {"A": "1"}})
    see_inert(mine, ["+hydra.callbacks.x._target_=my.Callback", "hydra.callbacks.x=1", "hydra.job.env_set.A=1"])
    with pytest.raises(UserError, match=r"hydra\.job\.env_set\.A"):
        see_inert(mine, ["hydra.callbacks.x=1"])


@pytest.mark.parametrize("name", ["weights.pt", "weights.ckpt", "weights.safetensors", "folder"])
def test_a_checkpoint_that_holds_code_is_refused(name, tmp_path):
    """A pickle that runs a command, as a checkpoint of every kind: refused in a line, not run"""
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        path = path / "pytorch_model.bin"
    torch.save({"state_dict": {"a": torch.ones(1), "b": Bomb()}}, path)
    with pytest.raises(UserError, match=r"could run code|is no checkpoint"):
        read_tensors(tmp_path / name)
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(UserError, match=r"could run code|is no checkpoint"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model/model.safetensors", pickle.dumps(Bomb())),
        ("model/config.json", RUN.encode()),
        ("model/config.json", f'{{"format": {FORMAT}, "backbone": {{"_target_": "os.mkdir"}}}}'.encode()),
        ("model/config.json", b"[" * 100_000),
    ],
)
def test_a_run_from_elsewhere_runs_nothing_when_it_is_loaded(file, content, tmp_path):
    """Pickles, tags and targets in the place of a model's files: refused in a line"""
    (tmp_path / "model").mkdir()
    for name in ("model/config.json", "model/model.safetensors"):
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / file).write_bytes(content)
    seal(tmp_path / "model")  # its checksums are no protection from who made it
    with pytest.raises(UserError, match="holds no whole model"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_names_that_become_too_large_are_refused_at_once(kind, tmp_path):
    """The same in names.yaml"""
    (tmp_path / "names.yaml").write_text(TOO_LARGE[kind])
    with pytest.raises(UserError, match=r"names\.yaml h(as more than|olds)"):
        read_names(tmp_path, result="r", num_clusters=2)


@pytest.mark.parametrize("text", [f"names: {{0: {RUN}}}", RUN, "names: {0: a}\nresult: [*a"])
def test_names_from_elsewhere_run_nothing(text, tmp_path):
    """Tags of Python's and what is no YAML in names.yaml: refused in a line"""
    (tmp_path / "names.yaml").write_text(text)
    with pytest.raises(UserError, match=r"names\.yaml cannot be read"):
        read_names(tmp_path, result="r", num_clusters=2)


def test_an_image_of_too_many_pixels_names_its_limit_and_leaves_the_others(tmp_path, tried):
    """Decompression bombs as PNG, GIF and TIFF: unreadable, with the limit; a good image beside them is read"""
    for suffix in ("png", "gif", "tiff"):
        packed = {"compression": "tiff_deflate"} if suffix == "tiff" else {}
        Image.new("1" if suffix != "gif" else "L", (10_000, 9_500)).save(tmp_path / f"bomb.{suffix}", **packed)
        with pytest.raises(UnreadableImageError, match=r"more than 89478485, the limit against decompression bombs"):
            decode_file(tmp_path / f"bomb.{suffix}", 8)
    Image.new("RGB", (20, 20)).save(tmp_path / "good.png")
    assert decode_file(tmp_path / "good.png", 8).shape == (3, 8, 8)
    tried(3)


def test_a_format_that_is_not_among_the_seven_is_not_opened(tmp_path, monkeypatch, tried):
    """EPS, which Pillow hands to Ghostscript, and six others, named .jpg: unreadable, nothing is started"""
    monkeypatch.setattr(subprocess, "Popen", None)
    kinds = ("EPS", "ICO", "ICNS", "PCX", "TGA", "SGI", "DDS")
    for kind in kinds:
        Image.new("RGB", (32, 32)).save(tmp_path / "photo.jpg", kind)
        with pytest.raises(UnreadableImageError, match="not an image in a known format"):
            decode_file(tmp_path / "photo.jpg", 8)
    tried(len(kinds))


def test_an_image_of_a_shard_that_claims_too_many_bytes_is_left_out(tmp_path):
    """A sparse tar file that claims an image of 2 GiB: unreadable, with the limit"""
    with pytest.raises(UnreadableImageError, match=f"more than {MAX_IMAGE_BYTES}, the limit"):
        decode(tmp_path / "a.tar", Span(512, 2**31), 8)


def test_arrays_that_unpack_to_too_much_are_refused(monkeypatch, tmp_path):
    """An .npz file of zeros that needs more memory than data.memory_limit, and one that lies about its shape"""
    from composed import changed, composed, line_of

    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros((4000, 32, 32), np.uint8))
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    values = composed("scan", "data=arrays", "backbone=small", "num_clusters=3")
    values = changed(changed(values, ("data", "root"), "bomb.npz"), ("data", "memory_limit"), 1e-3)
    assert "more than data.memory_limit=0.001" in line_of(values)
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (2**50, 8, 8)}
    np.lib.format.write_array_header_1_0(header, about)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as file:
        file.writestr("images.npy", header.getvalue())
    assert "cannot be read as an .npy or .npz file" in line_of(values)


def test_names_of_files_do_nothing_to_the_log_or_the_terminal(tmp_path, capfd, monkeypatch):
    """Line breaks, escape codes, surrogates and reversed text in a name: one inert line in log and terminal"""
    hostile = "a\n2026 INFO forged\x1b[2J\x1b]0;owned\x07\u202egnp.exe\udcff"
    (tmp_path / "run").mkdir()
    # pytest-xdist cannot send what pytest would take down of it: surrogates.
    monkeypatch.setattr(logging.getLogger("clusterlab"), "propagate", False)
    with logging_to(tmp_path / "run"):
        logging.getLogger("clusterlab.test").warning("left out: %s", hostile)
    for text in ((tmp_path / "run" / "clusterlab.log").read_text(encoding="utf-8"), capfd.readouterr().err):
        assert text.count("\n") == 1
        assert not set(text) & set("\x1b\x07\u202e\udcff")
        assert "\\u000a2026 INFO forged\\u001b[2J" in text


def test_pipes_devices_and_loops_in_a_folder_are_passed_over(tmp_path):
    """A pipe, a link to a device, loops of links, a link that climbs out to itself: named, and nothing hangs"""
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(photos / "good.png")
    os.mkfifo(photos / "pipe.png")
    (photos / "device.png").symlink_to("/dev/zero")
    (photos / "self.png").symlink_to("self.png")
    (photos / "deep" / "up").symlink_to("..")
    (photos / "deep" / "out").symlink_to(tmp_path)
    tree = read_tree(photos)
    assert tree.ids == ("good.png",)
    assert {name: reason for name, reason in tree.skipped if "/" not in name} == {
        "device.png": "no regular file", "pipe.png": "no regular file", "self.png": "a link to nothing",
    }  # fmt: skip


def test_modules_in_the_folder_where_the_command_is_typed_are_not_imported(command):
    """torch.py, yaml.py, ctypes.py and hydra_plugins/ among somebody's images: the command does not import them"""
    evil = "import os; os.mkdir('ran')"
    for name in ("torch.py", "yaml.py", "ctypes.py", "omegaconf.py", "hydra_plugins/evil.py"):
        path = Path(command.folder, name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(evil)
    assert "num_clusters=1 is too few" in command("num_clusters=1", code=2)
