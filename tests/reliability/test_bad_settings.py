"""Bad settings: values of right and wrong types in the place of each setting."""

import itertools
import random
import re
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from composed import changed, composed, line_of, look_parts_up_once
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clusterlab.config import COMPUTED, TRAINED, parse
from clusterlab.errors import UserError
from clusterlab.pipeline import check_order
from command_line import SMALL

CHOICES = (
    ("scan",),
    ("spice",),
    ("asd",),
    ("asd", "head.adapt=scan"),
    ("asd", "head.adapt=spice"),
    ("spice", "student=flexmatch"),
    ("spice", "student=freematch"),
    ("spice", "student=mixmatch", "student.unlabelled_ratio=1"),
    ("spice", "student=softmatch"),
    ("spice", "student=uda"),
    ("scan", "data=folder", "backbone=small", "num_clusters=3"),
    ("scan", "data=webdataset", "backbone=small", "num_clusters=auto"),
    ("scan", "data=arrays", "backbone=small", "num_clusters=3"),
)
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, -1, 10**30, 1e308, 1e-320, float("nan")]))
VALUES = st.one_of(
    NUMBERS, st.none(), st.booleans(), st.text(max_size=8), st.sampled_from(["", "../..", "\x1b[2J", "a\nb"]),
    st.lists(st.one_of(NUMBERS, st.text(max_size=3)), max_size=3),
    st.dictionaries(st.sampled_from(["name", "_target_", "lr", ""]), NUMBERS, max_size=2),
)  # fmt: skip
TRIED = 400
ABSURD = (0, 1, -1, 2**31 - 1, 10**30, 1e29, 1e-320, 1e-3, 0.0, float("nan"), float("inf"), "", "ten", [1], None)
ASD = ("asd", "head.num_instances=60", "num_clusters=3", "student.max_epochs=1")
RUNS: dict[str, tuple[tuple[str, ...], str]] = {
    "scan": (("scan",), ""),
    "spice": (("spice",), ""),
    "asd": (ASD, ""),
    "asd from scan": ((*ASD, "head.adapt=scan", "features.max_epochs=1", "adapted.max_epochs=1"), "adapted"),
    "asd from spice": ((*ASD, "head.adapt=spice", "features.max_epochs=1", "adapted.max_epochs=1"), "adapted"),
    "flexmatch": (("spice", "student=flexmatch"), "student"),
    "freematch": (("spice", "student=freematch"), "student"),
    "mixmatch": (("spice", "student=mixmatch", "student.unlabelled_ratio=1"), "student"),
    "softmatch": (("spice", "student=softmatch"), "student"),
    "uda": (("spice", "student=uda"), "student"),
}
"""What is run with absurd settings: its words, and the section whose settings they are, if not all. SCAN's student is
self-labelling, SPICE's FixMatch."""
LONGEST = 3
"""Seconds that a tiny run may take with an absurd setting: some ask for ever so much work, and get it."""
RUN_ALONE = ("seed", "wandb", "logger", "debug", "run_dir", "stage_dir")
"""Settings that a tiny run has for other reasons than its result."""


def paths(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


def refusal(values: Mapping[str, Any]) -> str:
    """What the config is refused with, nothing if it is not; any other exception is a defect."""
    try:
        check_order(parse(values))
    except UserError as error:
        return str(error)
    return ""


def cases() -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(what is chosen, the path of a setting), each setting of each part once."""
    found = {}
    for words in CHOICES:
        method, *more = words
        values = composed(method, *(word for word in more))
        for path in paths(values):
            section = values[path[0]]
            part = section.get("name") if isinstance(section, dict) else None
            found.setdefault((path, part), (words, path))
    return list(found.values())


def test_every_setting_takes_a_value_or_says_what_is_wrong_with_it(monkeypatch, tried):
    """Generated values of right and wrong types for the settings of every part: taken, or refused in a line"""
    look_parts_up_once(monkeypatch)
    known = cases()
    assert len(known) > 200
    taken = []

    @settings(max_examples=TRIED, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.sampled_from(known), VALUES)
    def check(case, value):
        (method, *words), path = case
        line = refusal(changed(composed(method, *words), path, value))
        taken.append(not line)
        if line:
            # A part's name is said with its group: head=x, computed=x.
            assert path[-1] == "name" or any(part in line for part in path), (line, path)

    check()
    assert 0 < sum(taken) < len(taken)
    tried(len(taken))


class TooLongError(BaseException):
    """Absurd, but no defect."""


def absurd_runs(values: Mapping[str, Any], section: str, seed: int) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield (path, value) of each absurd setting that is taken and read, in random order."""
    read = {section} if section else {*values} - {*RUN_ALONE, *TRAINED, *COMPUTED} | {*values["method"]["stages"]}
    every = [(path, value) for path in paths(values) for value in ABSURD if path[0] in read]
    random.Random(seed).shuffle(every)
    return (case for case in every if not refusal(changed(values, *case)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", RUNS)
def test_what_is_taken_runs_or_ends_in_a_line(name, kills, kill_seed, monkeypatch, tmp_path, tried):
    """Absurd settings that are within their range: a tiny run ends well, or in a line that names one"""
    look_parts_up_once(monkeypatch)
    monkeypatch.chdir(tmp_path)
    words, section = RUNS[name]
    epochs = [] if words[0] == "asd" else ["trainer.max_epochs=1"]  # no class moves in one
    values = composed(*words, *epochs, "trainer.max_steps_per_epoch=2")
    assert not line_of(values)
    chosen = [*itertools.islice(absurd_runs(values, section, kill_seed), kills)]
    assert chosen

    def give_up(*_):
        raise TooLongError

    before = signal.signal(signal.SIGALRM, give_up)
    try:
        for path, value in chosen:
            signal.setitimer(signal.ITIMER_REAL, LONGEST, 1)  # again, where the first is swallowed
            try:
                line = line_of(changed(values, path, value))
                named = "=" in line or re.search(r"\b(head|triggers|transitions)\.\w", line)
                assert named or not line, (path, value, line)
            except TooLongError:
                continue
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    tried(len(chosen))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("features", "temperature"), 0.0, "features.temperature=0.0 is not valid: input should be greater than 0"),
        (("features", "temperature"), -1.0, "features.temperature=-1.0 is not valid"),
        (("features", "temperature"), float("nan"), "features.temperature=NaN is not valid"),
        (("head", "entropy_weight"), -1.0, "head.entropy_weight=-1.0 is not valid"),
        (("head", "max_epochs"), 0, "head.max_epochs=0 is not valid"),
        (("head", "max_epochs"), "", "head.max_epochs=\"\" is not valid"),
        (("head", "batch_size"), 10**30, "it is too large: 2.14748e+09 is the most"),
        (("head", "entropy_weight"), 1e308, "it is too large: 1e+30 is the most"),
        (("features", "optimiser", "lr"), float("inf"), "features.optimiser.lr=Infinity is not valid"),
        (("features", "optimiser", "momentum"), 1.5, "less than 1"),
        (("features", "optimiser"), {"name": "nesterov", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0,
                                     "schedule": "constant", "final_lr_ratio": 0.0}, "nesterov needs a momentum"),
        (("baseline", "fit_limit"), 1e-20, "use a higher baseline.fit_limit"),
        (("data", "views", "weak", "padding"), 2**31 - 1, "less than or equal to 512"),
        (("backbone", "width"), 2**31 - 1, "not enough memory"),
        (("method", "stages"), [], "method.stages=[] makes no clusters: add head"),
        (("method", "stages"), ["features", "embeddings"], "method.stages=[features,embeddings] makes no clusters"),
    ],
)  # fmt: skip
def test_an_absurd_setting_is_named(path, value, said, monkeypatch, tmp_path):
    """Zero, negative, NaN, infinite or huge numbers and empty texts: the line names the setting and its range"""
    monkeypatch.chdir(tmp_path)
    assert said in line_of(changed(composed("scan"), path, value))


def test_a_batch_of_one_image_works_or_names_the_batch_size(monkeypatch, tmp_path):
    """batch_size=1 in every stage that trains"""
    monkeypatch.chdir(tmp_path)
    assert SMALL.keys() == {"scan", "spice", "asd"}
    for method, section in (("scan", "features"), ("scan", "head"), ("scan", "student"), ("spice", "head")):
        line = line_of(changed(composed(method, "trainer.max_epochs=1"), (section, "batch_size"), 1))
        assert not line or f"{section}.batch_size" in line, (section, line)


@pytest.mark.parametrize("section", ["backbone", "student"])
def test_images_too_small_for_a_network_are_refused_before_anything_is_trained(section, monkeypatch, tmp_path):
    """Images of four pixels for a ResNet-18 in bf16 on a CPU, for all stages or the last: what size is enough"""
    monkeypatch.chdir(tmp_path)
    words = ("data.image_size=4", "data.views.size=4", "trainer.precision=bf16-mixed")
    values = composed("spice", *words, "student.init=random")
    network = {"name": "resnet18", "stem": "cifar"}
    path = ("backbone",) if section == "backbone" else (section, "backbone")
    line = line_of(changed(values, path, network))
    assert "backbone=resnet18" in line
    assert "use data.views.size=5 or more, trainer.precision=32-true" in line
    assert not [*tmp_path.glob("outputs/stages/features-*")]
