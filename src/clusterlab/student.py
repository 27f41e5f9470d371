"""Stages that train a classifier of clusters, with an average of its weights as the teacher and the result."""

from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field

from clusterlab.artifacts import Assignments
from clusterlab.inference import assign
from clusterlab.models.classifier import Classifier
from clusterlab.models.ema import Ema
from clusterlab.stage import Work
from clusterlab.training import TrainedSettings, TrainedStage


class StudentSettings(TrainedSettings):
    """`ema_decay`: of the averaged weights that are the teacher; null: the weights themselves are."""

    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None


class StudentStage(TrainedStage):
    """Trains `network`. A subclass defines `training_step`; there is no selection: the last epoch is kept."""

    produces: ClassVar[type] = Assignments
    uses_num_clusters = True

    def __init__(self, *, settings: StudentSettings, work: Work, make_network: Callable[[], Classifier]) -> None:
        """`make_network` is called once the random draws are seeded."""
        super().__init__(settings=settings, work=work)
        self.network = make_network()
        decay = settings.ema_decay
        self.ema = None if decay is None else Ema(self.network, decay=decay)

    @property
    def teacher(self) -> Classifier:
        """What gives the result: the averaged network, where there is one."""
        return self.network if self.ema is None else self.ema.shadow

    def on_train_batch_end(self, *_: object) -> None:
        """Lightning's hook."""
        if self.ema is not None:
            self.ema.update(self.network)

    def export(self) -> Assignments:
        """Return the clusters after the last epoch."""
        return assign(self.teacher, self.work, self.pixels)
