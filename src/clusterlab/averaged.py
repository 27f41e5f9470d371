"""Stages that train a classifier and keep an average of its weights, which predicts."""

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from clusterlab.models.classifier import Classifier
from clusterlab.models.ema import Ema
from clusterlab.stage import Work
from clusterlab.training import TrainedSettings, TrainedStage


class AveragedSettings(TrainedSettings):
    """`ema_decay`: of the averaged weights that are the teacher; null: the weights themselves are."""

    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None


class AveragedStage(TrainedStage):
    """Trains `network`; the average follows every step."""

    def __init__(self, *, settings: AveragedSettings, work: Work, make_network: Callable[[], Classifier]) -> None:
        """`make_network` is called once the random draws are seeded."""
        super().__init__(settings=settings, work=work)
        self.network = make_network()
        decay = settings.ema_decay
        self.ema = None if decay is None else Ema(self.network, decay=decay)

    @property
    def teacher(self) -> Classifier:
        """What predicts and is the result: the averaged network, where there is one."""
        return self.network if self.ema is None else self.ema.shadow

    def on_train_batch_end(self, *about: object) -> None:
        """Lightning's hook."""
        if self.ema is not None:
            self.ema.update(self.network)
        super().on_train_batch_end(*about)
