"""Damage on the disk: what is not what was written is made again or refused, never used."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from here import DAMAGES, IMAGES, RUN, STAGES, Here, artifacts_of, contents, files_below

import clusterlab
from clusterlab import pipeline
from clusterlab.artifacts import DamagedArtifactError, load
from clusterlab.checksums import SUMS
from clusterlab.errors import UserError
from clusterlab.stage_checkpoint import StageCheckpoint
from command_line import SMALL

RANDOM_POSITIONS = 40


def swapped(path: Path, others: list[Path]) -> Path:
    """The file of the same stage of another run."""
    stem = path.parent.name.rpartition("-")[0]
    (other,) = (folder for folder in others if folder.name.rpartition("-")[0] == stem)
    return other / path.name


@pytest.mark.parametrize("damage", [*DAMAGES, "of another run"])
def test_no_artifact_with_a_damaged_file_is_loaded(digits_run, tmp_path, tried, damage):
    """Every file of every artifact: a flipped byte, cut, empty, missing, of another artifact"""
    others = artifacts_of(digits_run, RUN.parent / "1")
    cases = [(folder, name) for folder in artifacts_of(digits_run) for name in files_below(folder)]
    count = 0
    for folder, name in cases:
        place = tmp_path / str(count) / folder.name
        shutil.copytree(folder, place)
        if damage in DAMAGES:
            DAMAGES[damage](place / name)
        elif (content := swapped(folder / name, others).read_bytes()) != (place / name).read_bytes():
            (place / name).write_bytes(content)
        else:
            continue  # nothing is different
        with pytest.raises(DamagedArtifactError, match=place.name):
            load(place)
        count += 1
    assert count >= 15
    tried(count)


def test_no_flipped_bit_of_an_artifact_goes_unnoticed(digits_run, tmp_path, tried):
    """A flipped bit anywhere in a file of an artifact"""
    draw = random.Random(0)
    count = 0
    for folder in artifacts_of(digits_run):
        place = tmp_path / folder.name
        shutil.copytree(folder, place)
        for path in (place / name for name in files_below(place)):
            content = path.read_bytes()
            for _ in range(RANDOM_POSITIONS):
                spoilt = bytearray(content)
                spoilt[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
                path.write_bytes(spoilt)
                with pytest.raises(DamagedArtifactError, match=place.name):
                    load(place)
                count += 1
            path.write_bytes(content)
        load(place)
    tried(count)


@pytest.mark.parametrize("damage", ["any byte", "half of it", "missing"])
def test_a_run_makes_every_damaged_stage_again_and_ends_as_before(digits_run, copied, tried, damage):
    """A file of each artifact and of the decoded images, all at once: warned of, made again, the same clusters"""
    images = next(path for path in (copied.folder / STAGES / IMAGES).iterdir() if path.is_dir())
    folders = [*artifacts_of(copied), images]
    turn = list(DAMAGES).index(damage)
    for folder in folders:
        names = files_below(folder)
        DAMAGES[damage](folder / names[turn % len(names)])
    output = copied.run()
    assert all(folder.name in output for folder in folders)
    assert output.count("; it is made again") == len(folders) - 1
    assert output.count("; the images are decoded again") == 1
    assert copied.outcome() == digits_run.outcome()
    tried(len(folders))


def test_an_artifact_with_the_name_of_another_is_made_again(digits_run, copied):
    """An artifact in the folder of another"""
    folder = next(path for path in artifacts_of(copied) if path.name.startswith("student"))
    stem = folder.name.rpartition("-")[0]
    (other,) = (path for path in (copied.folder / STAGES).glob(f"{stem}-*") if path.is_dir() and path != folder)
    shutil.rmtree(folder)
    other.rename(folder)
    assert f"{folder.name} holds the artifact" in copied.run()
    assert copied.outcome() == digits_run.outcome()


def stop(*_, **__):
    raise UserError("stopped by the test")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A run that stopped between the last checkpoint of its features and their artifact."""
    here = Here(tmp_path_factory.mktemp("interrupted"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "save", stop)
        here(*SMALL["scan"], "trainer.checkpoint_seconds=0", code=2)
    return here


def checkpoint_of(here: Here) -> Path:
    (path,) = (here.folder / STAGES).glob("features-*.work/last.ckpt")
    return path


def equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def test_no_flipped_bit_changes_what_is_read_from_a_checkpoint(interrupted, tmp_path, tried):
    """A flipped bit anywhere in a checkpoint: refused, or where nothing is read"""
    whole = checkpoint_of(interrupted)
    content, written = whole.read_bytes(), torch.load(whole, weights_only=True)
    place = tmp_path / whole.parent.name
    place.mkdir()
    draw = random.Random(0)
    positions = [0, len(content) // 2, len(content) - 1, *(draw.randrange(len(content)) for _ in range(150))]
    positions += [draw.randrange(len(content) - 4000, len(content)) for _ in range(150)]  # the archive's table
    refused = 0
    for position in positions:
        spoilt = bytearray(content)
        spoilt[position] ^= 1 << draw.randrange(8)
        (place / whole.name).write_bytes(spoilt)
        if StageCheckpoint(place).found():
            assert equal(torch.load(place / whole.name, weights_only=True), written), position
        else:
            refused += 1
            assert not (place / whole.name).exists()
    assert refused > 150
    tried(len(positions))


@pytest.mark.parametrize("damage", [*DAMAGES, "of another stage"])
def test_a_damaged_checkpoint_is_not_gone_on_with(interrupted, tmp_path, caplog, damage):
    """A checkpoint that is cut, empty, noise, or of another stage"""
    whole = checkpoint_of(interrupted)
    place = tmp_path / (whole.parent.name if damage in DAMAGES else "features-simclr-0123456789ab.work")
    shutil.copytree(whole.parent, place)
    if damage in DAMAGES:
        DAMAGES[damage](place / whole.name)
    if StageCheckpoint(place).found():  # a zip archive ends at its table, wherever its file ends
        assert damage in ("one byte more", "last byte")
        assert equal(torch.load(place / whole.name, weights_only=True), torch.load(whole, weights_only=True))
    elif damage != "missing":
        assert "the stage begins anew" in caplog.text
        assert place.name in caplog.text


def test_a_run_with_a_damaged_checkpoint_ends_as_one_without(digits_run, interrupted, tmp_path):
    """A run that finds a damaged checkpoint"""
    shutil.copytree(interrupted.folder / "outputs", tmp_path / "outputs")
    here = Here(tmp_path)
    DAMAGES["middle byte"](checkpoint_of(here))
    assert "last.ckpt is not what was written" in here.run()
    assert here.outcome() == digits_run.outcome()


@pytest.mark.parametrize("damage", [*DAMAGES, "of another run"])
def test_a_damaged_model_labels_nothing(digits_run, tmp_path, tried, damage):
    """Every file of a model, loaded from Python and by predict"""
    names = files_below(digits_run.folder / RUN / "model")
    assert Path(SUMS) in names
    for name in names:
        run_dir = tmp_path / name.stem
        shutil.copytree(digits_run.folder / RUN, run_dir)
        if damage in DAMAGES:
            DAMAGES[damage](run_dir / "model" / name)
        else:
            shutil.copyfile(digits_run.folder / RUN.parent / "1" / "model" / name, run_dir / "model" / name)
        with pytest.raises(UserError, match=str(run_dir)):
            clusterlab.load(run_dir)
    line = Here(tmp_path).refusal("predict", str(run_dir), str(digits_run.folder), "--output", "new.csv")
    assert str(run_dir) in line
    assert not (tmp_path / "new.csv").exists()
    tried(len(names))


def test_a_run_writes_its_outputs_again_whatever_became_of_them(digits_run, copied, tried):
    """Every output of a run, damaged and written again by the same command"""
    before = {name: content for name, content in contents(copied.folder / RUN).items() if name.suffix != ".log"}
    damages = [DAMAGES[name] for name in ("any byte", "empty", "missing", "noise")]
    for number, name in enumerate(before):
        damages[number % len(damages)](copied.folder / RUN / name)
    copied.run()
    after = contents(copied.folder / RUN)
    for name, content in before.items():
        if name.name not in ("metrics.json", "report.html"):  # they tell the time
            assert after[name] == content, name
        assert len(after[name]) > 0.9 * len(content), name
    tried(len(before))
