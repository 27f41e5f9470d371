import torch

from clusterlab.data.views.grouping import count_groups, grouped


def test_groups_are_counted_per_step():
    groups = torch.tensor([[0, 2], [1, 2], [0, 2]])
    assert count_groups(groups, 4) == [[2, 1, 0, 0], [0, 0, 3, 0]]


def test_each_sample_gets_its_own_operation_and_parameter():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 3, 2, 2)
    groups = torch.tensor([1, 0, 1, 3, 0, 1])
    seen = {}

    def operation(name, sign):
        def apply(values, parameter):
            seen[name] = values[:, 0, 0, 0].tolist()
            return values + sign * parameter.byte()[:, None, None, None]

        return apply

    result = grouped(
        images,
        groups,
        count_groups(groups[:, None], 4)[0],
        [operation("a", 1), operation("b", 2), operation("never", 1), operation("c", 3)],
        torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]),
    )
    assert result[:, 0, 0, 0].tolist() == [0 + 20, 1 + 20, 2 + 60, 3 + 120, 4 + 50, 5 + 120]
    assert {name: sorted(values) for name, values in seen.items()} == {"a": [1, 4], "b": [0, 2, 5], "c": [3]}
