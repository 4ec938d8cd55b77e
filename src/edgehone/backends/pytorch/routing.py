"""What the routers of a mixture of experts decide, read while transformers runs the model (worker side)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# transformers 5 calls them MixtralTopKRouter, Qwen3MoeTopKRouter and so on; each returns its softmax over all
# experts, the weights of the chosen [tokens, k] and their numbers [tokens, k].
_ROUTER = "TopKRouter"
_BLOCK = re.compile(r"\blayers\.(\d+)\.")


def routers(model: Any) -> dict[int, Any]:
    """The router of each block that has one, by the block's number. ModelError when there is none."""
    found = {}
    for name, module in model.named_modules():
        if type(module).__name__.endswith(_ROUTER) and (at := _BLOCK.search(name)):
            found[int(at[1])] = module
    if not found:
        raise ModelError(f"{type(model).__name__} has no router that transformers calls a {_ROUTER}")
    return found


@contextmanager
def recorded(model: Any) -> Iterator[dict[int, tuple[Any, Any]]]:
    """While open, each forward pass leaves (numbers, weights) of the chosen experts by block."""
    seen: dict[int, tuple[Any, Any]] = {}

    def note(block: int) -> Any:
        def hook(router: Any, args: Any, output: Any) -> None:
            integers = [not part.is_floating_point() for part in output]
            chosen = output[integers.index(True)]
            # The softmax over all experts is as wide as there are experts; the weights are as the numbers.
            weights = next(
                part for part in output[::-1] if part.is_floating_point() and part.shape == chosen.shape
            )
            seen[block] = (chosen, weights)

        return hook

    handles = [router.register_forward_hook(note(block)) for block, router in routers(model).items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def routing(model: Any, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
    """The experts chosen for each of `ids` from an empty context, by block: [tokens, k]."""
    import numpy as np
    import torch

    with recorded(model) as seen, torch.inference_mode():
        model.base_model(torch.tensor([list(ids)]), use_cache=False)
        return {block: chosen.numpy().astype(np.int16) for block, (chosen, _) in sorted(seen.items())}


class TorchRouting:
    """A model opened to see its routing: a `RoutingSession` of the contract."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def routing(self, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
        """The experts chosen for each of `ids` from an empty context, by block: [tokens, k]."""
        return routing(self.model, ids)

    def close(self) -> None:
        """Drop the weights."""
        del self.model
