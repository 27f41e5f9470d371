"""Two processes, one of which is told to end in the middle of an epoch: both save the same step, and go on with it."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from small_moco import moco
from two_ranks import on_two_ranks

from clusterlab import stopping
from clusterlab.stage_checkpoint import CHECKPOINT

STEP = 3
"""Of five in an epoch."""


class Told:
    """MoCo on two ranks, whose batch norms see the images of their own process alone.

    It is trained at once; then again, with `rank` told to end; then on from there.
    """

    def __init__(self, work, rank, number):
        self.work, self.rank, self.number = work, rank, number

    def __call__(self, rank):
        torch.set_num_threads(1)
        unbroken = weights(moco(self.beside("unbroken")))
        stage = moco(self.beside("told"))
        if rank == self.rank:
            stage.on_train_batch_start = self.tell
        code = None
        try:
            with stopping.obeyed():
                stage.run()
        except stopping.Stopped as stop:
            code = stop.code
        saved = torch.load(stage.work.folder / CHECKPOINT, weights_only=True)
        with stopping.obeyed():  # as in a new process, nobody has told anything
            return code, saved["global_step"], unbroken, weights(moco(self.beside("told")))

    def tell(self, batch, batch_idx):
        if batch_idx + 1 == STEP:
            os.kill(os.getpid(), self.number)

    def beside(self, name):
        folder = self.work.folder / name
        folder.mkdir(exist_ok=True)
        return replace(self.work, folder=folder, listener=print)


def weights(stage):
    made = stage.run()
    return {name: value.tolist() for name, value in made.backbone.items()}


@pytest.mark.parametrize(("rank", "number"), [(0, signal.SIGINT), (1, signal.SIGTERM)])
def test_what_one_process_is_told_all_save_and_go_on_with(work, rank, number):
    told = on_two_ranks(Told(replace(work, listener=print), rank, number))
    for code, step, unbroken, again in told:
        assert code == 128 + number
        assert step == STEP
        assert again == unbroken
