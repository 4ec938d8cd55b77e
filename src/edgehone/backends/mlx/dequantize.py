"""Dequantize matrices and multiply them with numpy (worker side), to verify quality where MLX has no GPU.

MLX's wheel for Linux multiplies with the reference BLAS: about 240 tokens/s for 7 M parameters in float32, and fewer
with quantized weights. The same weights, dequantized once and multiplied in float32, give the same logits up to
rounding (tests/backends/mlx/test_backend.py states the bounds). Activations between the layers keep the artifact's
dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def unpack(model: Any) -> Any:
    """Replace each linear layer and embedding by one with float weights.

    Expert layers are dequantized too, but remain MLX layers, computed in float32: the CPU's gather-matmul takes nothing
    else.
    """
    import mlx.core as mx
    from mlx import nn
    from mlx.utils import tree_unflatten
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    (linear, embedding), experts_of = _modules(), _experts()
    layers = []
    for name, layer in model.named_modules():
        # Subclasses may compute something else and are not replaced.
        if type(layer) in (nn.Linear, nn.QuantizedLinear):
            layers.append((name, linear(layer)))
        elif type(layer) in (nn.Embedding, nn.QuantizedEmbedding):
            layers.append((name, embedding(layer)))
        elif type(layer) is QuantizedSwitchLinear or (
            type(layer) is SwitchLinear and layer.weight.dtype != mx.float32
        ):
            layers.append((name, experts_of(layer)))
    model.update_modules(tree_unflatten(layers))
    return model


def _experts() -> Any:
    """Return the replacement class of expert layers, defined here because its base class comes from the framework."""
    import mlx.core as mx
    from mlx_lm.models.switch_layers import SwitchLinear

    class Experts(SwitchLinear):  # type: ignore[misc]
        """Float experts. Inputs have been rounded to the compute dtype, and outputs are, as on the GPU."""

        def __init__(self, layer: Any) -> None:
            super().__init__(1, 1, 1, bias="bias" in layer)
            self._dtype = layer.scales.dtype if "scales" in layer else layer.weight.dtype
            self.weight = _weight(layer)
            if "bias" in layer:
                self.bias = layer.bias.astype(mx.float32)

        def __call__(self, x: Any, *args: Any, **options: Any) -> Any:
            dtype = mx.float32 if x.dtype == mx.float32 else self._dtype
            return super().__call__(x.astype(mx.float32), *args, **options).astype(dtype)

    return Experts


def _weight(layer: Any) -> Any:
    """Return the layer's weights in float32."""
    import mlx.core as mx

    if "scales" not in layer:
        return layer.weight.astype(mx.float32)
    biases = layer.get("biases")
    biases = None if biases is None else biases.astype(mx.float32)
    scales = layer.scales.astype(mx.float32)
    return mx.dequantize(layer.weight, scales, biases, layer.group_size, layer.bits, layer.mode)


def _modules() -> tuple[Any, Any]:
    """Return the two replacement classes, defined here because their base class comes from the framework."""
    import mlx.core as mx
    import numpy as np
    from mlx import nn

    class Matrix(nn.Module):  # type: ignore[misc]
        """A matrix of float rows. Attributes that begin with an underscore are not parameters of the model.

        `_observer`, if set, receives the inputs of each multiplication as float32 [n, columns].
        """

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self._dtype = layer.scales.dtype if "scales" in layer else layer.weight.dtype
            self._bias = layer.get("bias")
            self._rows = np.array(_weight(layer))
            self._observer: Callable[[Any], None] | None = None

        def times(self, x: Any) -> Any:
            dtype = mx.float32 if x.dtype == mx.float32 else self._dtype
            # x has been rounded to the compute dtype, as on the GPU; the product accumulates in float32.
            inputs = np.array(x.astype(mx.float32))
            flat = inputs.reshape(-1, inputs.shape[-1])
            if self._observer is not None:
                self._observer(flat)
            product = (flat @ self._rows.T).reshape(*inputs.shape[:-1], -1)
            outputs = mx.array(product).astype(dtype)
            return outputs if self._bias is None else outputs + self._bias

    class Linear(Matrix):
        def __call__(self, x: Any) -> Any:
            return self.times(x)

    class Embedding(Matrix):
        def __call__(self, ids: Any) -> Any:
            return mx.array(self._rows[np.array(ids)]).astype(self._dtype)

        def as_linear(self, x: Any) -> Any:
            return self.times(x)

    return Linear, Embedding
