"""Asked again, the instance classifier gives the same: without labels, and after a stop in the middle."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_asd import asd, beside, clusters_to_start_from, everything, instances

from clusterlab.artifacts import Instances
from clusterlab.data.images import Labels


class Untouchable(Labels):
    """Labels that nobody may look at."""

    def __getattribute__(self, name):
        if not name.startswith("__"):
            raise AssertionError(f"labels were looked at: {name}")
        return super().__getattribute__(name)


def test_no_label_is_looked_at(work):
    sealed = replace(work.images, sealed_labels=Untouchable(np.arange(60) % 10, tuple("0123456789")))
    with pytest.raises(AssertionError, match="looked at: values"):
        _ = sealed.sealed_labels.values
    start = clusters_to_start_from(work, torch.arange(60) % 7)
    found = asd(replace(beside(work), images=sealed), assignments=start).run()
    want = asd(work, assignments=start).run()
    assert same(found, want)


def same(one: Instances, other: Instances) -> bool:
    first, second = everything(one), everything(other)
    return first.keys() == second.keys() and all(value.equal(second[name]) for name, value in first.items())


def test_the_same_seed_gives_the_same_result_and_another_seed_another(work):
    first = asd(work).run()
    assert same(first, asd(beside(work)).run())
    assert not same(first, asd(beside(work, seed=1)).run())


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(("window", "ema_decay"), [(None, 0.5), (3, None)])
def test_a_run_that_stopped_in_the_middle_ends_as_an_unbroken_one(work, window, ema_decay):
    settings = {"max_epochs": 4, "window": window, "ema_decay": ema_decay, "candidates": 2, "track_from": 0.2}
    trainer = work.trainer.model_copy(update={"checkpoint_seconds": 0})
    unbroken = asd(beside(work), **settings).run()
    assert int(unbroken.transitions.sum()) > 0

    def stop(epoch, *_):
        if epoch == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        asd(replace(work, trainer=trainer, listener=stop), **settings).run()
    checkpoint = torch.load(work.folder / "last.ckpt", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (1, 8)
    state = checkpoint["state_dict"]
    carried = {"transitions.bank", "transitions.counts", "network.heads.weight"}
    carried |= {"transitions.ring", "transitions.pointer"} if window else set()
    carried |= {"ema.shadow.heads.weight", "ema.shadow.backbone.stem.1.running_mean"} if ema_decay else set()
    assert carried <= state.keys()
    assert (state["transitions.bank"] >= 0).any()
    told, trained = [], []

    def listen(epoch, step, scalars):
        told.append(epoch)
        if "images_per_second" in scalars:
            trained.append(epoch)

    again = asd(replace(work, listener=listen), **settings).run()
    assert (told, trained) == ([0, 1, 2, 3], [2, 3])
    assert same(again, unbroken)


def test_a_made_up_artifact_has_every_field_that_the_stage_exports(work):
    found, made_up = everything(asd(work).run()), everything(instances(work, transitions=torch.zeros(12, 12).long()))
    assert {n: v.dtype for n, v in found.items()} == {n: v.dtype for n, v in made_up.items()}
