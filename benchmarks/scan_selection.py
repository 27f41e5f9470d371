"""SCAN's choice of an epoch without labels: clusterlab's stored pairs against the matrix of all pairs.

    python benchmarks/scan_selection.py [--json PATH] [--turns N]

After each epoch SCAN's loss on un-augmented images tells how good a head is: how far an image agrees with itself and
its 5 neighbours, and how evenly the clusters are used. Ours is `selection_loss`, which multiplies the probabilities of
the stored pairs. The plain way, as the papers' code has it, multiplies every image with every other, head by head, and
looks the stored pairs up. Both must find the same losses. Probabilities and neighbours are random.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from clusterlab.heads.scan import selection_loss
from rows import Row, begin, finish, in_turns, make_row, parser

IMAGES, TRIAL_IMAGES = 10_000, 100
CLUSTERS, NEIGHBOURS = 10, 5


def plain_selection(probs: Tensor, neighbours: Tensor) -> Tensor:
    """The loss of each head."""
    losses = []
    for head in probs:
        similarity = head @ head.T
        itself = torch.arange(len(head)).unsqueeze(1)
        stored = torch.cat([itself, neighbours], dim=1)
        agreement = similarity[itself.expand_as(stored).flatten(), stored.flatten()]
        consistency = F.binary_cross_entropy(agreement.clamp(max=1), torch.ones_like(agreement))
        mean = head.mean(dim=0).clamp(min=1e-8)
        losses.append(consistency + (mean * mean.log()).sum())
    return torch.stack(losses)


def measured(images: int, heads: int, *, turns: int, at_least: float | None) -> Row:
    generator = torch.Generator().manual_seed(0)
    probs = (3 * torch.randn(heads, images, CLUSTERS, generator=generator)).softmax(-1)
    neighbours = torch.randint(images, (images, NEIGHBOURS), generator=generator)
    torch.testing.assert_close(selection_loss(probs, neighbours).total, plain_selection(probs, neighbours))
    ours, theirs = in_turns(
        lambda: selection_loss(probs, neighbours),
        lambda: plain_selection(probs, neighbours),
        turns=turns,
        calls=(20, 1),
    )
    return make_row(
        f"SCAN selection, heads: {heads}",
        work=f"{images:,} images, {CLUSTERS} clusters, {NEIGHBOURS} neighbours",
        plain="the matrix of all pairs, head by head",
        ours=ours,
        theirs=theirs,
        at_least=at_least,
    )


def main() -> None:
    arguments = parser(__doc__, turns=7).parse_args()
    machine = begin()
    images = TRIAL_IMAGES if arguments.trial else IMAGES
    rows = [
        measured(images, heads, turns=arguments.turns, at_least=at_least) for heads, at_least in ((1, 50.0), (10, None))
    ]
    finish(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
