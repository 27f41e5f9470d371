"""The contract of a stage: one part at work, which reads earlier artifacts and leaves one of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from clusterlab.artifacts import Artifact
from clusterlab.data.images import ImageSet
from clusterlab.data.sources.base import SourceSettings
from clusterlab.data.views import Family, View, make_view
from clusterlab.models.build import NetworkSpec
from clusterlab.settings import Settings
from clusterlab.trainer import TrainerSettings


class PartSettings(Settings):
    """Settings of a part; `name` is its file's name."""

    name: str


Listener = Callable[[int, int, Mapping[str, float]], None]
"""Called with (epoch, step, scalars by name) at the end of each epoch."""


@dataclass(frozen=True)
class Work:
    """What the pipeline gives every stage beside its settings and inputs."""

    images: ImageSet
    data: SourceSettings
    network: NetworkSpec
    num_clusters: int
    seed: int
    trainer: TrainerSettings
    folder: Path
    """Scratch space that a killed and restarted stage finds again: checkpoints and history."""
    title: str
    """The stage's name in progress bars and logs."""
    listener: Listener

    def view(self, family: Family, **changes: Any) -> View:
        """Return an augmentation family with the values that suit the data, `changes` in the place of some."""
        views = self.data.views
        if changes:
            views = views.model_copy(update={family: getattr(views, family).model_copy(update=changes)})
        return make_view(family, views, mean=self.data.mean, std=self.data.std)


class Stage(ABC):
    """One part at work.

    A subclass names the artifacts that it reads in `consumes` (argument name → type, or a union of types: the latest
    of any); they arrive as keyword arguments of its constructor. `version` is raised whenever the same settings come
    to give another result.
    """

    Settings: ClassVar[type[PartSettings]]
    consumes: ClassVar[Mapping[str, Any]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()
    """Names in `consumes` that may be missing; they arrive as None then."""
    produces: ClassVar[type]
    only_if_read: ClassVar[bool] = False
    """Whether the stage is left out of a run in which no later stage reads what it makes."""
    on_all_ranks: ClassVar[bool] = False
    """Whether every process of a distributed run works on it; otherwise the first one does, and the others wait."""
    version: ClassVar[int] = 1
    uses_network: ClassVar[bool] = False
    """Whether the result depends on the backbone's settings (not only through the inputs)."""
    own_network: ClassVar[bool] = False
    """Whether a backbone may be chosen for this stage alone, as `backbone` in its section; null: that of the run."""
    uses_num_clusters: ClassVar[bool] = False
    """Whether the result depends on the number of clusters."""
    uses_trainer: ClassVar[bool] = False
    """Whether the result depends on precision and length limits of the trainer."""

    @classmethod  # noqa: B027  most parts have nothing to check
    def check(cls, settings: Any, *, has_own_network: bool) -> None:
        """See that the settings fit each other, before anything runs.

        Raises:
            UserError: they do not.
        """

    @abstractmethod
    def __init__(self, *, settings: Any, work: Work, **inputs: Artifact | None) -> None: ...

    @abstractmethod
    def run(self) -> Artifact:
        """Do the work and return what it leaves."""
