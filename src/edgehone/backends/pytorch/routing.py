"""Record the experts that a mixture-of-experts model chooses while transformers runs it (worker side)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The routers of transformers 5 are named MixtralTopKRouter, Qwen3MoeTopKRouter and so on. Each returns the softmax over
# all experts, the weights of the chosen ones [tokens, k] and their indices [tokens, k].
_ROUTER = "TopKRouter"
_BLOCK = re.compile(r"\blayers\.(\d+)\.")


def routers(model: Any) -> dict[int, Any]:
    """Return the routers by block number. Raises ModelError if there is none."""
    found = {}
    for name, module in model.named_modules():
        if type(module).__name__.endswith(_ROUTER) and (at := _BLOCK.search(name)):
            found[int(at[1])] = module
    if not found:
        raise ModelError(f"{type(model).__name__} has no router whose class is named *{_ROUTER}")
    return found


@contextmanager
def recorded(model: Any) -> Iterator[dict[int, tuple[Any, Any]]]:
    """Record (indices, weights) of the chosen experts by block in each forward pass inside the `with` block."""
    choices: dict[int, tuple[Any, Any]] = {}

    def record(block: int) -> Any:
        def hook(router: Any, args: Any, output: Any) -> None:
            integers = [not part.is_floating_point() for part in output]
            chosen = output[integers.index(True)]
            # The weights have the shape of the indices; the softmax has a column for every expert.
            weights = next(
                part for part in output[::-1] if part.is_floating_point() and part.shape == chosen.shape
            )
            choices[block] = (chosen, weights)

        return hook

    handles = [router.register_forward_hook(record(block)) for block, router in routers(model).items()]
    try:
        yield choices
    finally:
        for handle in handles:
            handle.remove()


def routing(model: Any, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
    """Return the experts chosen for each id from an empty context, by block: [tokens, k]."""
    import numpy as np
    import torch

    with recorded(model) as choices, torch.inference_mode():
        model.base_model(torch.tensor([list(ids)]), use_cache=False)
        return {block: chosen.numpy().astype(np.int16) for block, (chosen, _) in sorted(choices.items())}


class TorchRouting:
    """An opened model that reports its routing: a `RoutingSession` of `edgehone.backends.sessions`."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def routing(self, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
        """Return the experts chosen for each id from an empty context, by block: [tokens, k]."""
        return routing(self.model, ids)

    def close(self) -> None:
        """Free the weights."""
        del self.model
