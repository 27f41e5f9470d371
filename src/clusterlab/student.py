"""Stages that train a classifier of clusters, with an average of its weights as the teacher and the result.

A student is one method, `objective`: what a batch of sample indices costs.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from clusterlab.artifacts import Assignments
from clusterlab.averaged import AveragedSettings, AveragedStage
from clusterlab.inference import assign
from clusterlab.models.classifier import Classifier
from clusterlab.stage import Work


@runtime_checkable
class Terms(Protocol):
    """A NamedTuple of scalars, of which `total` is minimised; the others are written down."""

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""

    def _asdict(self) -> dict[str, Any]: ...


class StudentSettings(AveragedSettings):
    """What every student has."""


class StudentStage(AveragedStage):
    """Trains `network`. A subclass defines `objective`; there is no selection: the last epoch is kept.

    What it remembers of clusters and samples between steps it registers, so that checkpoints hold it and `remap` finds
    it. Logits are gathered from all processes before anything is made of them, so each process has the same state.
    """

    produces: ClassVar[type] = Assignments
    uses_num_clusters = True

    def __init__(self, *, settings: StudentSettings, work: Work, make_network: Callable[[], Classifier]) -> None:
        """`make_network` is called once the random draws are seeded."""
        super().__init__(settings=settings, work=work, make_network=make_network)
        self._per_class: list[str] = []
        self._per_sample: list[str] = []

    @abstractmethod
    def objective(self, index: Int[Tensor, " b"]) -> Terms:
        """Return what the batch costs, as a NamedTuple of scalars with a `total`."""

    def training_step(self, index: Tensor, _: int) -> Tensor:
        """Lightning's hook: the objective, its terms written down."""
        loss = self.objective(index)
        self.observe_terms(loss, total="loss")
        return loss.total

    def observe_terms(self, terms: Terms, *, total: str) -> None:
        """Add the terms to the means of the epoch, their total by the name `total`."""
        scalars = terms._asdict()
        self.observe(**{total: scalars.pop("total")}, **scalars)

    @property
    def num_clusters(self) -> int:
        """Clusters that the network tells apart (k)."""
        return self.network.clusters

    def register_per_class(self, name: str, value: Shaped[Tensor, "k ..."]) -> None:
        """Make `value`, a row per cluster, the buffer `name`."""
        self.register_buffer(name, value)
        self._per_class.append(name)

    def register_per_sample(self, name: str, value: Int[Tensor, " n"]) -> None:
        """Make `value`, a cluster per sample index or −1, the buffer `name`."""
        self.register_buffer(name, value)
        self._per_sample.append(name)

    @torch.no_grad()
    def remap(self, permutation: Int[Tensor, " k"]) -> None:
        """Call cluster c permutation[c] from now on, in everything that knows clusters by number."""
        permutation = permutation.to(self.device)
        former = permutation.argsort()  # the old number of each new one
        networks = [self.network] if self.ema is None else [self.network, self.ema.shadow]
        if self.network.groups is None:
            for outputs in self._outputs(networks):
                outputs.copy_(outputs[..., former])
        else:
            for network in networks:
                assert network.groups is not None
                network.groups.copy_(permutation[network.groups])
        for name in self._per_class:
            rows = self.get_buffer(name)
            rows.copy_(rows[former])
        for name in self._per_sample:
            clusters = self.get_buffer(name)
            clusters.copy_(torch.where(clusters >= 0, permutation[clusters.clamp(min=0)], clusters))

    def _outputs(self, networks: Sequence[Classifier]) -> Iterator[Tensor]:
        """The tensors whose last dimension is the heads' outputs, a running optimiser's averages of them included."""
        optimisers = [] if self._trainer is None else self._trainer.optimizers
        for parameter in (p for network in networks for p in (network.heads.weight, network.heads.bias)):
            yield parameter
            for optimiser in optimisers:
                state = optimiser.state.get(parameter, {})
                yield from (value for value in state.values() if torch.is_tensor(value) and value.dim())

    def export(self) -> Assignments:
        """Return the clusters after the last epoch."""
        return assign(self.teacher, self.work, self.pixels)
