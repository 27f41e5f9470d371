import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clusterlab.data.decode import UnreadableImageError
from clusterlab.data.images import Labels
from clusterlab.data.loading import existing_root, load_images
from clusterlab.data.originals import Originals, split_sizes
from clusterlab.errors import UserError


def originals(
    *, train: int = 6, test: int = 2, channels: int = 3, broken: tuple[int, ...] = (), labelled: bool = True
) -> Originals:
    def read(i: int) -> np.ndarray:
        if i in broken:
            raise UnreadableImageError("torn")
        return np.full((channels, 2, 2), i, dtype=np.uint8)

    count = train + test
    return Originals(
        where="here",
        ids=tuple(f"image {i}" for i in range(count)),
        splits=split_sizes(train=train, test=test),
        split_rule="by decree",
        stamps=(("unchanged",),) * count,
        shape=(channels, 2, 2),
        read=read,
        labels=Labels(values=np.arange(count) % 3, names=("a", "b", "c")) if labelled else None,
        skipped=(("pipe.jpg", "no regular file"),) if broken else (),
    )


def test_labels_stay_with_their_images_when_some_are_left_out(tmp_path: Path, settings_of):
    settings = settings_of("folder", limit=4)
    images = load_images(originals(broken=(1, 6)), settings, tmp_path)
    rows = images.pixels[:, 0, 0, 0].tolist()
    assert images.ids == tuple(f"image {i}" for i in rows)
    assert images.sealed_labels is not None
    assert images.sealed_labels.values.tolist() == [i % 3 for i in rows]
    assert images.sealed_labels.names == ("a", "b", "c")
    assert len(rows) < 6


def test_without_labels_the_fingerprint_is_the_same(tmp_path: Path, settings_of):
    told = load_images(originals(), settings_of("folder"), tmp_path / "a")
    silenced = load_images(originals(), settings_of("folder", labels="none"), tmp_path / "b")
    unlabelled = load_images(originals(labelled=False), settings_of("folder"), tmp_path / "c")
    assert told.sealed_labels is not None
    assert silenced.sealed_labels is None
    assert unlabelled.sealed_labels is None
    assert told.fingerprint == silenced.fingerprint == unlabelled.fingerprint


def test_pools_follow_the_protocol(tmp_path: Path, settings_of):
    split = load_images(originals(), settings_of("folder", protocol="split"), tmp_path)
    assert (split.train_index.tolist(), split.eval_index.tolist()) == ([0, 1, 2, 3, 4, 5], [6, 7])
    both = load_images(originals(), settings_of("folder", protocol="all"), tmp_path)
    assert both.train_index.tolist() == both.eval_index.tolist() == list(range(8))


def test_unlabelled_images_are_for_features_alone_under_either_protocol(tmp_path: Path, settings_of):
    source = replace(originals(), splits=split_sizes(train=3, test=2, unlabeled=3))
    split = load_images(source, settings_of("folder", protocol="split"), tmp_path)
    pools = (split.pretext_index, split.train_index, split.eval_index)
    assert [pool.tolist() for pool in pools] == [[0, 1, 2, 5, 6, 7], [0, 1, 2], [3, 4]]
    both = load_images(source, settings_of("folder", protocol="all"), tmp_path)
    pools = (both.pretext_index, both.train_index, both.eval_index)
    assert [pool.tolist() for pool in pools] == [list(range(8)), list(range(5)), list(range(5))]


@pytest.mark.parametrize("protocol", ["split", "all"])
def test_without_unlabelled_images_features_are_trained_on_what_all_is_trained_on(tmp_path, settings_of, protocol):
    images = load_images(originals(), settings_of("folder", protocol=protocol), tmp_path)
    assert images.pretext_index.tolist() == images.train_index.tolist()


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        (originals(test=0), "test"),
        (originals(train=0), "train"),
        (originals(test=1, broken=(6,)), "test"),
    ],
)
def test_protocol_split_without_one_of_the_splits_is_refused(tmp_path: Path, settings_of, source, missing):
    with pytest.raises(UserError, match=rf"^here has no {missing} split \(by decree\).*data\.protocol=all$"):
        load_images(source, settings_of("folder", protocol="split"), tmp_path)


def test_left_out_files_are_listed_and_told_in_one_line(tmp_path: Path, settings_of, caplog):
    for _ in range(2):  # the second time from the store
        caplog.clear()
        images = load_images(originals(broken=(0, 2, 3)), settings_of("folder"), tmp_path)
        assert images.unreadable == (
            ("pipe.jpg", "no regular file"),
            *((f"image {i}", "torn") for i in (0, 2, 3)),
        )
        (warning,) = (r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
        assert warning == (
            "here: 4 files cannot be read and are left out: pipe.jpg (no regular file), image 0 (torn), "
            "image 2 (torn), and 1 more"
        )


def test_nothing_is_told_when_nothing_is_left_out(tmp_path: Path, settings_of, caplog):
    assert load_images(originals(), settings_of("folder"), tmp_path).unreadable == ()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("channels", "figures"), [(1, [0.5]), (3, [0.5]), (3, [0.4, 0.5, 0.6])])
def test_one_figure_or_one_per_channel_is_accepted(tmp_path: Path, settings_of, channels, figures):
    settings = settings_of("folder", mean=figures, std=figures)
    assert load_images(originals(channels=channels), settings, tmp_path).channels == channels


@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize(("channels", "figures"), [(1, [0.5] * 3), (3, [0.5] * 2), (3, [])])
def test_figures_for_another_number_of_channels_are_refused(tmp_path, settings_of, name, channels, figures):
    settings = settings_of("folder", **{"mean": [0.5], "std": [0.5], name: figures})
    with pytest.raises(UserError, match=rf"data\.{name}=.* give 1 or {channels}"):
        load_images(originals(channels=channels), settings, tmp_path)


def test_a_root_that_is_not_set_or_not_there_is_asked_for(tmp_path: Path, settings_of):
    with pytest.raises(UserError, match=r"^data=folder needs data\.root=PATH: photos$"):
        existing_root(settings_of("folder"), "photos")
    with pytest.raises(UserError, match=r"nowhere does not exist.*data\.root=PATH: photos$"):
        existing_root(settings_of("folder", root=str(tmp_path / "nowhere")), "photos")


def test_a_tilde_in_the_root_is_the_home_folder(tmp_path: Path, settings_of, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    assert existing_root(settings_of("folder", root="~/photos"), "photos") == tmp_path / "photos"
