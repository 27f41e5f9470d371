"""Shapes in the types are checked while tests run; one thread, because several test processes share a small machine."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "disabled")
# An int is a float here, as it is for type checkers (PEP 484).
install_import_hook("clusterlab", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import torch  # noqa: E402

torch.set_num_threads(1)
