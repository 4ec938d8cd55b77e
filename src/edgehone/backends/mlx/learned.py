"""Quantization of an MLX model that is fitted to the calibration text (worker side).

The text is run through the model as floats (`mlx_float`), whose matrices tell what they multiply; each matrix is then
rounded by `mlx_gptq` under that. Experts of a mixture and what the text never reaches are rounded to the nearest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgehone.backends.mlx import dequantize, gptq
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.calibration import windows

# 8,192 positions. On the model that ships twice as many took twice the time and gave a KL 1 % lower.
_WINDOWS = 32
_LENGTH = 256
# Hessians held at a time; what does not fit takes another pass over the text.
_BYTES = 1 << 30


def learn(
    model: Any, floats: Any, config: dict[str, Any], job: WorkerJob, own: Mapping[str, Sequence[int]]
) -> tuple[Any, dict[str, Any]]:
    """`model` quantized as args say (bits, group), fitted to inputs["calibration"]; and its configuration.

    `own` maps parts of matrices' names to [bits, group] of their own. `floats` is the same model again, in
    float32; it is used up. TextError for a text that is too short.
    """
    import mlx.core as mx
    from mlx_lm.utils import quantize_model

    bits, group = int(job.args["bits"]), int(job.args["group"])
    length = min(_LENGTH, int(config.get("max_position_embeddings") or _LENGTH))
    texts = windows(job.inputs["calibration"], length, _WINDOWS)
    dequantize.unpack(floats)
    matrices = {name: layer for name, layer in floats.named_modules() if hasattr(layer, "_tap")}

    def width(name: str) -> tuple[int, int]:
        found = next((value for part, value in own.items() if part in name), (bits, group))
        return int(found[0]), int(found[1])

    def predicate(name: str, module: Any) -> Any:
        return (
            {"bits": width(name)[0], "group_size": width(name)[1]}
            if hasattr(module, "to_quantized")
            else False
        )

    model, config = quantize_model(model, config, group, bits, quant_predicate=predicate if own else None)
    layers = dict(model.named_modules())
    done = 0
    for batch in batches({name: layer._rows.shape[1] for name, layer in matrices.items()}):
        hessians = _hessians(floats, {name: matrices[name] for name in batch}, texts)
        for name in batch:
            job.progress(0.1 + 0.7 * done / len(matrices), f"rounding {name}")
            done += 1
            if name in hessians and "scales" in layers[name]:
                made = gptq.round_matrix(matrices[name]._rows, hessians.pop(name), *width(name))
                layers[name].weight = mx.array(gptq.pack(made[0], width(name)[0]))
                layers[name].scales, layers[name].biases = (mx.array(part.astype("f4")) for part in made[1:])
    return model, config


def batches(columns: Mapping[str, int]) -> Iterator[list[str]]:
    """Names in order, as many at a time as have Hessians (float32) within the limit; one at least."""
    batch: list[str] = []
    held = 0
    for name, size in columns.items():
        if batch and held + 4 * size**2 > _BYTES:
            yield batch
            batch, held = [], 0
        batch.append(name)
        held += 4 * size**2
    if batch:
        yield batch


def _hessians(floats: Any, matrices: Mapping[str, Any], texts: list[list[int]]) -> dict[str, Any]:
    """Σ x xᵀ of what each matrix multiplies over all the texts; nothing for one that is never multiplied with."""
    import mlx.core as mx

    sums: dict[str, Any] = {}

    def tap(name: str) -> Any:
        def add(x: Any) -> None:
            sums[name] = sums.get(name, 0) + x.T @ x

        return add

    for name, layer in matrices.items():
        layer._tap = tap(name)
    for ids in texts:
        mx.eval(floats(mx.array([ids])))
    for layer in matrices.values():
        layer._tap = None
    return sums
