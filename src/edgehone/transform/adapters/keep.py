"""Which LoRA adapters a runtime can keep apart from their base: pairs of low-rank matrices of linear layers alone."""

from __future__ import annotations

from edgehone.core.errors import ModelError
from edgehone.transform.adapters.config import AdapterConfig
from edgehone.transform.adapters.match import Fit

_HINT = "leave out --keep-adapter: the adapter is then merged into the base"


def check(config: AdapterConfig, found: Fit) -> None:
    """Raise ModelError, naming the first tensor, for an adapter that can only be merged."""
    for name, change in sorted(found.changes.items()):
        if change.whole:
            raise ModelError(
                f"{config.folder} replaces the tensor {name}, which no runtime keeps apart from the base",
                hint=_HINT,
            )
        if change.embedding:
            raise ModelError(
                f"{config.folder} changes the embedding {name}, which is not kept apart from the base here",
                hint=_HINT,
            )
    if config.transposed:
        raise ModelError(
            f"{config.folder} is for transposed weights (fan_in_fan_out), which are not kept apart here",
            hint=_HINT,
        )
