"""Batch norm in a distributed run: statistics of the batch of all processes, as if one process had it."""

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from clusterlab import ranks


def normalise_over_ranks(network: nn.Module) -> None:
    """Replace every batch norm below `network` by one that takes its statistics over all processes, if there are more.

    On a GPU that is torch's own SyncBatchNorm, which does not work on a CPU.
    """
    if ranks.world_size() == 1:
        return
    if any(parameter.is_cuda for parameter in network.parameters()):
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, BatchNormOverRanks(child))
        else:
            normalise_over_ranks(child)


def average_running_statistics(network: nn.Module) -> None:
    """Put the mean over all processes in the place of each running mean and variance.

    They differ only where batch norms see the batch of their own process alone.
    """
    ranks.average(_running_statistics(network))


def running_statistics_of_all(network: nn.Module) -> Float[Tensor, "ranks s"]:
    """Return every process's running means and variances, one row for each process."""
    own = [value.flatten() for value in _running_statistics(network)]
    if not own:  # layer norm has none
        return torch.empty(ranks.world_size(), 0)
    return ranks.gather(torch.cat(own)[None], ranks.world_size())


def go_on_with(statistics: Float[Tensor, "ranks s"], network: nn.Module) -> None:
    """Give each process its row of `running_statistics_of_all`, or the mean where there were more or fewer of them."""
    alike = len(statistics) == ranks.world_size()
    row = statistics[ranks.rank()] if alike else statistics.mean(dim=0)
    own = _running_statistics(network)
    for value, kept in zip(own, torch.split(row, [value.numel() for value in own]), strict=True):
        value.copy_(kept.view_as(value))


def _running_statistics(network: nn.Module) -> list[Tensor]:
    norms = [module for module in network.modules() if isinstance(module, _NormBase)]
    return [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]


class BatchNormOverRanks(_BatchNorm):
    """Shares parameters and running averages with the batch norm that it replaces."""

    def __init__(self, replaced: _BatchNorm) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(replaced.__dict__)

    def forward(self, values: Tensor) -> Tensor:
        """As nn.BatchNorm1d and nn.BatchNorm2d; without running averages, or in training, by the batch's statistics."""
        if not self.training and self.running_mean is not None:
            return super().forward(values)
        with torch.autocast(values.device.type, enabled=False):
            return self._normalised(values.float()).to(values.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def _normalised(self, values: Tensor) -> Tensor:
        over = [dim for dim in range(values.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(values.dim())]
        own = values.numel() / values.shape[1]
        sums = _Sum.apply(torch.cat([values.sum(over), values.new_tensor([own])]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over)) / count
        if self.training and self.track_running_stats:
            self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        normalised: Tensor = centred * scale.view(shape)
        return normalised if self.bias is None else normalised + self.bias.view(shape)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(values: Tensor) -> Tensor:
    values = values.clone()
    distributed.all_reduce(values)
    return values
