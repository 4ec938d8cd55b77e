"""Matrices as floats, multiplied by numpy (worker side): how quality is proven where MLX has no GPU.

MLX's wheel for Linux multiplies by the reference BLAS: some 240 tokens/s for 7 M parameters in float32, and less
with quantized weights. The same weights, dequantized once and multiplied in float32, give the same logits but for
rounding (tests/backends/test_mlx.py says by how much). Activations keep the artifact's own dtype in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def unpack(model: Any) -> Any:
    """Replace each linear layer and embedding, quantized or not, by its floats; experts stay with MLX, dequantized."""
    from mlx import nn
    from mlx.utils import tree_unflatten
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

    linear, embedding = _modules()
    layers = []
    for name, layer in model.named_modules():
        # Subclasses may compute something else: they stay as they are.
        if type(layer) in (nn.Linear, nn.QuantizedLinear):
            layers.append((name, linear(layer)))
        elif type(layer) in (nn.Embedding, nn.QuantizedEmbedding):
            layers.append((name, embedding(layer)))
        elif type(layer) is QuantizedSwitchLinear:
            experts = SwitchLinear(1, 1, 1, bias="bias" in layer)
            experts.weight = _weight(layer).astype(layer.scales.dtype)
            if "bias" in layer:
                experts.bias = layer.bias
            layers.append((name, experts))
    model.update_modules(tree_unflatten(layers))
    return model


def _weight(layer: Any) -> Any:
    """The layer's weights in float32."""
    import mlx.core as mx

    if "scales" not in layer:
        return layer.weight.astype(mx.float32)
    biases = layer.get("biases")
    biases = None if biases is None else biases.astype(mx.float32)
    scales = layer.scales.astype(mx.float32)
    return mx.dequantize(layer.weight, scales, biases, layer.group_size, layer.bits, layer.mode)


def _modules() -> tuple[Any, Any]:
    """The two replacements; their base class comes with the framework."""
    import mlx.core as mx
    import numpy as np
    from mlx import nn

    class Matrix(nn.Module):  # type: ignore[misc]
        """Rows of floats; what begins with an underscore is no parameter of the model.

        `_tap` gets what is multiplied, as float32 [n, columns].
        """

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self._dtype = layer.scales.dtype if "scales" in layer else layer.weight.dtype
            self._bias = layer.get("bias")
            self._rows = np.array(_weight(layer))
            self._tap: Callable[[Any], None] | None = None

        def times(self, x: Any) -> Any:
            dtype = mx.float32 if x.dtype == mx.float32 else self._dtype
            # In the compute dtype first: that is what the GPU reads, however it accumulates.
            given = np.array(x.astype(mx.float32))
            flat = given.reshape(-1, given.shape[-1])
            if self._tap is not None:
                self._tap(flat)
            product = (flat @ self._rows.T).reshape(*given.shape[:-1], -1)
            made = mx.array(product).astype(dtype)
            return made if self._bias is None else made + self._bias

    class Linear(Matrix):
        def __call__(self, x: Any) -> Any:
            return self.times(x)

    class Embedding(Matrix):
        def __call__(self, ids: Any) -> Any:
            return mx.array(self._rows[np.array(ids)]).astype(self._dtype)

        def as_linear(self, x: Any) -> Any:
            return self.times(x)

    return Linear, Embedding
