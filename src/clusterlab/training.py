"""Stages that train a network: fit with Lightning, going on where a killed run stopped, then export an artifact."""

import time
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import PositiveInt
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from clusterlab import ranks
from clusterlab.artifacts import Artifact
from clusterlab.data.datamodule import EpochBatches, ImageDataModule, Pixels, ShuffledBatches
from clusterlab.data.views import Family, View
from clusterlab.durable import replacing
from clusterlab.finite import NotFiniteError, Watch, not_finite
from clusterlab.history import History, epochs_of
from clusterlab.models.norm import average_running_statistics, normalise_over_ranks
from clusterlab.models.optim import Groups, OptimiserSettings, make_optimiser, make_schedule
from clusterlab.processes import trainer_arguments
from clusterlab.progress import EpochProgress, Stopwatch
from clusterlab.rng import ShareOfDraws, generator_for, seed_for
from clusterlab.stage import PartSettings, Stage, Work

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
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self.watch = Watch()
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
        self.pixels = Pixels(work.images, trainer_settings.device)
        self.to(trainer_settings.device, memory_format=trainer_settings.memory_format)
        data = ImageDataModule(pool=self.pool(), batches=self.batches())
        keeper = Keeper(work, self.epochs)
        if self.norms_over_ranks:
            normalise_over_ranks(self)
        trainer = Trainer(
            accelerator=trainer_settings.accelerator,
            **trainer_arguments(),
            precision=trainer_settings.precision,  # type: ignore[arg-type]
            max_epochs=self.epochs,
            logger=False,
            callbacks=[keeper],
            plugins=[WholeCheckpoints()],
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=work.folder,
        )
        checkpoint = work.folder / "last.ckpt"
        with warnings.catch_warnings():
            # The loader hands over indices: there is nothing for worker processes to do.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning 2.6 asks torch's pytrees in a way that newer torch replaces.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            trainer.fit(self, data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
        self.to(trainer_settings.device)
        if ranks.rank() == 0:
            keeper.history.write(work.folder / "history.csv")
        return self.export()

    @property
    def epochs(self) -> int:
        """Epochs to train."""
        return self.work.trainer.epochs(self.part.max_epochs)

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
            total, count = self._sums.get(name, (torch.zeros((), device=value.device), 0))
            self._sums[name] = (total + value.detach().float(), count + 1)
            if name.endswith("loss"):
                self.watch.see(name, value, self.global_step)

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

    def observed(self) -> dict[str, float]:
        """Return the means since the last `start_observing`."""
        return {name: float(total) / count for name, (total, count) in self._sums.items()}

    def start_observing(self) -> None:
        """Forget what was observed."""
        self._sums = {}


class Keeper(Checkpoint):
    """Keeps the history and the checkpoint of a stage; as a `Checkpoint` it runs after every other epoch-end hook."""

    def __init__(self, work: Work, epochs: int) -> None:
        self.work = work
        self.history = History(stage=work.title)
        self.progress = EpochProgress(work.title, epochs)
        self.clock = Stopwatch()
        self.epoch_start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the progress, from the epoch that training goes on with, and tell of those before."""
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
            pl_module.watch.check()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that the losses and weights are finite, write down the epoch's means, then a checkpoint when one is due.

        Raises:
            NotFiniteError: they are not.
        """
        assert isinstance(pl_module, TrainedStage)
        pl_module.watch.check()
        if broken := not_finite(pl_module.state_dict().items()):
            raise NotFiniteError(f"{broken} became NaN or infinite in epoch {trainer.current_epoch + 1}")
        seconds = time.monotonic() - self.epoch_start
        epoch = trainer.current_epoch
        scalars = pl_module.observed() | {"lr": trainer.optimizers[0].param_groups[0]["lr"]}
        pl_module.start_observing()
        self.history.add(epoch, trainer.global_step, scalars)
        if ranks.rank() == 0:
            images = len(pl_module.batches()) * pl_module.batches().batch_size
            # For those who watch: what differs from run to run stays out of the history.
            self.work.listener(epoch, trainer.global_step, scalars | {"images_per_second": images / seconds})
            self.progress.step(scalars)
        if not pl_module.norms_over_ranks:
            average_running_statistics(pl_module)
        if ranks.agreed(self.clock.passed(self.work.trainer.checkpoint_seconds)):
            trainer.save_checkpoint(self.work.folder / "last.ckpt")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the progress bar."""
        self.progress.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the history so far, for the checkpoint."""
        return {"history": self.history.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history of a checkpoint."""
        self.history.rows = [tuple(row) for row in state_dict["history"]]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the old one, syncs and renames: a kill never leaves half of one."""

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any = None) -> None:
        """Replace the file at `path`."""
        with replacing(Path(path)) as temporary:
            torch.save(dict(checkpoint), temporary)
