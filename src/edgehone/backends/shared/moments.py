"""Second moments of the inputs of linear layers, in torch (worker side).

Where the layers before were quantized, the inputs x differ from the x' that the exact model would give. Their products
x' xᵀ tell which weights give the exact model's outputs for the inputs as they are (`shared.gptq.shift`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Inputs per band of the sums, of which only the upper triangle is computed.
_BAND = 1024


@dataclass
class Group:
    """The layers that read the same input, by name, and the sum of x xᵀ over its `tokens`: the upper triangle.

    `cross`: the sum of x' xᵀ, with the exact model's inputs x'. None if they are not known.
    """

    sums: Any
    cross: Any = None
    tokens: int = 0
    layers: dict[str, Any] = field(default_factory=dict)

    def add(self, inputs: Any) -> None:
        """Add inputs [tokens, width]."""
        self.tokens += len(inputs)
        for at in range(0, inputs.shape[1], _BAND):
            band = inputs[:, at : at + _BAND]
            self.sums[at : at + _BAND, at:].addmm_(band.T, inputs[:, at:])

    def add_cross(self, exact: Any, inputs: Any) -> None:
        """Add the exact model's inputs [tokens, width] for the same tokens."""
        if self.cross is None:
            self.cross = exact.T @ inputs
        else:
            self.cross.addmm_(exact.T, inputs)

    def cross_moments(self) -> NDArray[np.float32] | None:
        """Return the mean of x' xᵀ: float32 [width, width]. The sums are used up."""
        import numpy as np

        if self.cross is None:
            return None
        sums: NDArray[np.float32] = self.cross.numpy()
        self.cross = None
        sums /= np.float32(max(self.tokens, 1))
        return sums

    def second_moments(self) -> NDArray[np.float32]:
        """Return the mean of x xᵀ: float32 [width, width]. The sums are used up."""
        import numpy as np

        sums: NDArray[np.float32] = self.sums.numpy()
        self.sums = None
        sums /= np.float32(max(self.tokens, 1))
        for at in range(0, len(sums), _BAND):
            sums[at + _BAND :, at : at + _BAND] = sums[at : at + _BAND, at + _BAND :].T
        return sums


@contextmanager
def recorded(block: Any, names: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Yield a dict that gets the inputs of the linear layers in a block, by name, while it runs."""
    found: dict[str, Any] = {}
    with _hooked(block, names, lambda name, module, inputs: found.update({name: inputs})):
        yield found


@contextmanager
def _hooked(block: Any, names: dict[int, str], each: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """Call `each(name, module, inputs)` before every linear layer of a block that runs."""
    import torch

    def hook(name: str) -> Callable[..., None]:
        return lambda module, inputs: each(name, module, inputs[0])

    linear = [one for one in block.modules() if isinstance(one, torch.nn.Linear)]
    handles = [one.register_forward_pre_hook(hook(names[id(one)])) for one in linear]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Moments:
    """Sums of x xᵀ over the inputs of layers. Layers that read the same tensor share one sum."""

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._known: dict[str, Group] = {}
        self._last: tuple[Any, Group | None] = (None, None)

    @contextmanager
    def of(
        self, block: Any, names: dict[int, str], exact: Mapping[str, Any] = MappingProxyType({})
    ) -> Iterator[None]:
        """Sum the inputs of the linear layers in a block while it runs. `names` are those of modules, by id.

        `exact` has the exact model's inputs for the same window, by the names of the layers.
        """
        with _hooked(
            block, names, lambda name, module, inputs: self.add(name, module, inputs, exact.get(name))
        ):
            try:
                yield
            finally:
                self._last = (None, None)

    def add(self, name: str, module: Any, activations: Any, exact: Any = None) -> None:
        """Add a layer's inputs [..., width], and those of the exact model if they are known."""
        import torch

        last, group = self._last
        if activations is last and group is not None:
            self._known.setdefault(name, group)
            group.layers.setdefault(name, module)
            return
        width = activations.shape[-1]
        if name not in self._known:
            self._known[name] = Group(torch.zeros((width, width)))
            self._groups.append(self._known[name])
        group = self._known[name]
        group.layers.setdefault(name, module)
        self._last = (activations, group)
        inputs = activations.reshape(-1, width)
        group.add(inputs)
        if exact is not None:
            group.add_cross(exact.reshape(-1, width), inputs)

    def groups(self) -> Iterator[Group]:
        """Yield the groups, and forget each before the next."""
        self._known.clear()
        while self._groups:
            yield self._groups.pop(0)
