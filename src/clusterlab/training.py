"""Stages that train a network: fit with Lightning, going on where a killed run stopped, then export an artifact."""

import time
import warnings
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from clusterlab import ranks, stopping
from clusterlab.artifacts import Artifact
from clusterlab.data.datamodule import EpochBatches, ImageDataModule, Pixels, ShuffledBatches
from clusterlab.data.views import Family, View
from clusterlab.finite import NotFiniteError, not_finite
from clusterlab.history import History, epochs_of
from clusterlab.models.backbones.base import Backbone
from clusterlab.models.norm import (
    average_running_statistics,
    go_on_with,
    normalise_over_ranks,
    running_statistics_of_all,
)
from clusterlab.models.optim import Groups, OptimiserSettings, make_optimiser, make_schedule
from clusterlab.observations import Observations
from clusterlab.processes import trainer_arguments
from clusterlab.progress import EpochProgress, Stopwatch
from clusterlab.rng import ShareOfDraws, generator_for, seed_for
from clusterlab.stage import PartSettings, Stage, Work
from clusterlab.stage_checkpoint import CHECKPOINT, StageCheckpoint

STEPS_BETWEEN_LOOKS = 100
"""At the losses; each look waits for the device."""


class TrainedSettings(PartSettings):
    """Settings that every trained part has."""

    max_epochs: PositiveInt
    batch_size: PositiveInt
    optimiser: OptimiserSettings


class TrainedStage(Stage, LightningModule):
    """fit → export. A subclass builds its network in `__init__`, then defines `training_step` and `export`.

    A step gets the sample indices of the batch of all processes. It takes this process's share of them through
    `self.look` and the network, puts the results of all together with `ranks.gather`, and goes on as one process would.
    Scalars reported with `self.observe` reach the history as means over the epoch, without a host synchronisation per
    step. Those whose name ends in `loss` have to be finite: otherwise training stops, and its last checkpoint stays.
    """

    Settings: ClassVar[type[PartSettings]]
    uses_network = True
    uses_trainer = True
    on_all_ranks = True
    norms_over_ranks: ClassVar[bool] = True
    """Whether batch norm computes its statistics over the batch of all processes."""

    def __init__(self, *, settings: TrainedSettings, work: Work) -> None:
        LightningModule.__init__(self)
        self.part = settings
        self.work = work
        self.pixels: Pixels
        self.observations = Observations()
        torch.manual_seed(seed_for(work.seed, work.title, "init"))

    @abstractmethod
    def export(self) -> Artifact:
        """Return the artifact, after training; `self.pixels` and the network are on the device."""

    def pool(self) -> Int[Tensor, " n"]:
        """Return the sample indices to train on."""
        return self.work.images.train_index

    def batches(self) -> EpochBatches:
        """Return the sampler of positions in the pool."""
        return ShuffledBatches(
            size=len(self.pool()),
            batch_size=self.part.batch_size,
            purpose=(self.work.seed, self.work.title),
            limit=self.work.trainer.max_steps_per_epoch,
        )

    def trained_parameters(self) -> Groups:
        """Return the parameters that the optimiser changes, or groups of them."""
        return [p for p in self.parameters() if p.requires_grad]

    def run(self) -> Artifact:
        """Train, from the last checkpoint where there is one, and export."""
        work, trainer_settings = self.work, self.work.trainer
        self.place()
        data = ImageDataModule(pool=self.pool(), batches=self.batches())
        keeper, checkpoint = Keeper(work, self.epochs), StageCheckpoint(work.folder)
        if self.norms_over_ranks:
            normalise_over_ranks(self)
        trainer = Trainer(
            accelerator=trainer_settings.accelerator,
            **trainer_arguments(),
            precision=trainer_settings.precision,  # type: ignore[arg-type]
            max_epochs=self.epochs,
            logger=False,
            callbacks=[keeper],
            plugins=[checkpoint],
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=work.folder,
        )
        goes_on = ranks.agreed(ranks.rank() == 0 and checkpoint.found())
        with warnings.catch_warnings():
            # The loader hands over indices: there is nothing for worker processes to do.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning 2.6 asks torch's pytrees in a way that newer torch replaces.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            with stopping.when_saved():
                trainer.fit(self, data, ckpt_path=checkpoint.path if goes_on else None, weights_only=True)
        self.to(trainer_settings.device)
        if ranks.rank() == 0:
            keeper.history.write(work.folder / "history.csv")
        return self.export()

    def place(self) -> None:
        """Put images and network on the device, and have the backbones compiled where the trainer says so."""
        trainer_settings = self.work.trainer
        self.pixels = Pixels(self.work.images, trainer_settings.device)
        self.to(trainer_settings.device, memory_format=trainer_settings.memory_format)
        if trainer_settings.compile and ranks.world_size() == 1:
            for module in self.modules():
                if isinstance(module, Backbone):
                    module.compile()

    @property
    def epochs(self) -> int:
        """Epochs to train."""
        return self.work.trainer.epochs(self.part.max_epochs)

    def on_train_batch_end(self, *_: object) -> None:
        """Lightning's hook, after all else that a step changes: save and end, if that is wanted.

        After the last step of an epoch that is left to the keeper, which saves when the epoch is written down.
        """
        if stopping.wanted(ranks.largest) and not self.trainer.is_last_batch:
            self.observations.watch.check()  # what has diverged is not saved
            self.trainer.save_checkpoint(self.work.folder / CHECKPOINT)
            stopping.see_to_it()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Lightning's hook: the optimiser and its schedule."""
        settings = self.part.optimiser
        optimiser = make_optimiser(settings, self.trained_parameters())
        moves = self.epochs * (len(self.batches()) if settings.interval == "step" else 1)
        schedule = make_schedule(settings, optimiser, moves=moves)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": settings.interval}}

    def draws(self, purpose: str) -> torch.Generator:
        """Return the generator for one purpose of the current step."""
        return generator_for(self.work.seed, self.work.title, purpose, self.global_step, device=self.device)

    def view(self, family: Family, **changes: Any) -> View:
        """Return an augmentation family with the values that suit the data, `changes` in the place of some."""
        return self.work.view(family, **changes)

    def look(
        self, view: View, index: Int[Tensor, " b"], purpose: str, *, order: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "s c y x"]:
        """Return this process's share of the images of `index` through `view`, laid out for the network.

        Each image has draws of its own, which depend neither on `order`, in which the images are shared out, nor on the
        number of processes. What the network makes of them is put together again by `ranks.gather`.
        """
        mine = ranks.share(len(index))
        rows = mine if order is None else order[mine]
        return self.seen(view, index, rows, ShareOfDraws(self.draws(purpose)))

    def seen(
        self, view: View, index: Int[Tensor, " b"], rows: slice | Tensor, draws: ShareOfDraws
    ) -> Float[Tensor, "s c y x"]:
        """Return `rows` of the images of `index` through `view`."""
        images = view(self.pixels.take(index[rows]), draws.hand_out(rows, len(index)))
        return images.contiguous(memory_format=self.work.trainer.memory_format)

    def observe(self, **scalars: Tensor) -> None:
        """Add scalars to the means of the epoch, each counted for itself."""
        for name, value in scalars.items():
            self.observations.add(name, value, self.global_step)

    @torch.no_grad()
    def observe_probs(self, probs: Float[Tensor, "*b k"]) -> None:
        """Add how sure a batch is of its clusters, and over how many it is spread.

        The latter is exp H(p̄) with the batch's mean p̄: k where all are equally likely, 1 after a collapse. Heads beside
        each other (a dimension before the batch) are each taken for themselves.
        """
        probs = probs.float()
        mean = probs.mean(dim=-2)
        spread = (-torch.xlogy(mean, mean).sum(dim=-1)).exp()
        self.observe(confidence=probs.amax(dim=-1).mean(), effective_clusters=spread.mean())


class Keeper(Checkpoint):
    """Keeps the history and the checkpoint of a stage; as a `Checkpoint` it runs after every other epoch-end hook."""

    def __init__(self, work: Work, epochs: int) -> None:
        self.work = work
        self.history = History(stage=work.title)
        self.progress = EpochProgress(work.title, epochs)
        self.clock = Stopwatch()
        self.epoch_start = 0.0
        self.statistics: Tensor | None = None
        """Of batch norms that see the batch of their own process alone, in the middle of an epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the progress, from the epoch that training goes on with, and tell of those before."""
        stopping.hear_again()  # Lightning's own way with SIGTERM waits for processes that may wait for this one
        if self.statistics is not None:  # now that the processes have been made alike
            go_on_with(self.statistics.to(pl_module.device), pl_module)
        self.epoch_start = time.monotonic()  # an epoch in the middle of which a run goes on is not told to start
        if ranks.rank() == 0:
            for epoch, step, scalars in epochs_of(self.history.rows):
                self.work.listener(epoch, step, scalars)
            self.progress.start(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to measure the epoch."""
        self.epoch_start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Now and then, see that the losses are finite: an epoch may take hours."""
        assert isinstance(pl_module, TrainedStage)
        if not (batch_idx + 1) % STEPS_BETWEEN_LOOKS:
            pl_module.observations.watch.check()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that the losses and weights are finite, write down the epoch's means, then a checkpoint when one is due.

        Raises:
            NotFiniteError: they are not.
        """
        assert isinstance(pl_module, TrainedStage)
        pl_module.observations.watch.check()
        if broken := not_finite(pl_module.state_dict().items()):
            raise NotFiniteError(f"{broken} became NaN or infinite in epoch {trainer.current_epoch + 1}")
        seconds = time.monotonic() - self.epoch_start
        epoch = trainer.current_epoch
        scalars = pl_module.observations.means() | {"lr": trainer.optimizers[0].param_groups[0]["lr"]}
        pl_module.observations.forget()
        self.history.add(epoch, trainer.global_step, scalars)
        if ranks.rank() == 0:
            images = len(pl_module.batches()) * pl_module.batches().batch_size
            # For those who watch: what differs from run to run stays out of the history.
            self.work.listener(epoch, trainer.global_step, scalars | {"images_per_second": images / seconds})
            self.progress.step(scalars)
        if not pl_module.norms_over_ranks:
            average_running_statistics(pl_module)
        stops = stopping.wanted(ranks.largest)
        if ranks.agreed(self.clock.passed(self.work.trainer.checkpoint_seconds) or stops):
            trainer.save_checkpoint(self.work.folder / CHECKPOINT)
        if stops:
            stopping.see_to_it()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the progress bar."""
        self.progress.close()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what was observed of an epoch that is not over, and what differs between the processes."""
        assert isinstance(pl_module, TrainedStage)
        checkpoint["observed"] = pl_module.observations.state()
        if not pl_module.norms_over_ranks:
            checkpoint["statistics"] = running_statistics_of_all(pl_module)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with it."""
        assert isinstance(pl_module, TrainedStage)
        pl_module.observations.restore(checkpoint["observed"], pl_module.device)
        self.statistics = checkpoint.get("statistics")

    def state_dict(self) -> dict[str, Any]:
        """Return the history so far, for the checkpoint."""
        return {"history": self.history.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history of a checkpoint."""
        self.history.rows = [tuple(row) for row in state_dict["history"]]
