"""Quantize tensors of a quantized GGUF file again: only those with more bits than wanted, all others bit for bit.

llama-quantize copies a tensor whose type does not change (src/llama-quant.cpp), so every tensor is given a type: its
own, or a lower one. The levels are data: [[lower]] of recipes.toml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgehone.backends.base import EFFORTS, Effort, Recipe
from edgehone.formats.gguf import Header, Tensor, file_type, type_named
from edgehone.model.info import LargeTensor, ModelInfo

NAME = "llamacpp"
# Types that llama-quantize writes with an importance matrix only (tensor_requires_imatrix); it also refuses to copy
# them without one.
_WEIGHTED = {"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"}
# Stated as the file's type if its own is unknown. Only types of quantized files make llama-quantize read the options.
_OTHERWISE = "Q8_0"
# Not as stated: floats, types that it does not write, and Q2_K_S, for which it wants an importance matrix.
_UNSTATED = ("F32", "F16", "BF16", "NVFP4", "Q2_K_S")
# A level that takes less off the file than this share is not worth a candidate.
_LEAST = 0.03


def recipes(model: ModelInfo, levels: Sequence[Mapping[str, Any]], refined: bool) -> list[Recipe]:
    """Return recipes that lower single large tensors, then recipes that lower all tensors of more bits.

    `refined`: the latter also with GPTQ.
    """
    return [*_single(model, levels), *_whole(model, levels, refined)]


def _single(model: ModelInfo, levels: Sequence[Mapping[str, Any]]) -> list[Recipe]:
    found = []
    for tensor in model.large_tensors:
        seen: set[str] = set()
        for level in levels:
            kind = _fitting(level, tensor.row)
            if kind is None or kind["bits"] >= bits_of(tensor) or kind["type"] in seen:
                continue
            seen.add(kind["type"])
            saved = tensor.bytes - tensor.elements * kind["bits"] / 8
            if saved < _LEAST * model.bytes:
                continue
            short = tensor.name.removesuffix(".weight")
            lower = {"level": level["level"], "types": level["types"], "tensor": tensor.name}
            found.append(
                Recipe(
                    NAME,
                    f"{short}-{kind['type']}",
                    {"source": "gguf", "requantize": True, "lower": lower},
                    effort=level["single_effort"],
                    why=f"{tensor.name} from {tensor.type} to {kind['type']} saves {saved / model.bytes:.0%} of the "
                    "file; all other tensors stay as they are",
                    bits=8 * (model.bytes - saved) / model.parameters,
                )
            )
    return [_weighted(one) for one in found] if _WEIGHTED & set(model.dtypes) else found


def _whole(model: ModelInfo, levels: Sequence[Mapping[str, Any]], refined: bool) -> list[Recipe]:
    found: list[Recipe] = []
    seen: set[str] = set()
    for level in levels:
        # The rows of most matrices have the length of the hidden state, or one that more blocks divide.
        kind = _fitting(level, model.hidden_size or level["types"][0]["block"])
        if kind is None or kind["type"] in seen:  # the level above has the same type for such rows
            continue
        seen.add(kind["type"])
        bits = kind["bits"]
        own = {name: count for name, count in model.dtypes.items() if name not in ("F32", "I32")}
        above = {name: count for name, count in own.items() if type_bits(name) > bits}
        saved = sum((type_bits(name) - bits) * count / 8 for name, count in above.items())
        if saved < _LEAST * model.bytes:
            continue
        plain = Recipe(
            NAME,
            f"all-{level['level']}",
            {
                "source": "gguf",
                "requantize": True,
                "lower": {"level": level["level"], "types": level["types"]},
            },
            effort=level["effort"],
            why=f"tensors in {', '.join(sorted(above))} to {bits:g} bits per weight; the others stay as they are",
            bits=8 * (model.bytes - saved) / model.parameters,
        )
        if refined and "gptq_effort" in level:
            found.append(_refined(_weighted(plain), level["gptq_effort"]))
        needed = bool(_WEIGHTED & set(model.dtypes))
        if needed or level.get("imatrix"):
            found.append(_weighted(plain))
            # At the same bytes and speed the weighted one is expected to be better, so this one waits for more effort.
            plain = replace(plain, effort=max(plain.effort, "normal", key=EFFORTS.index))
        found += [] if needed else [plain]
    return found


def _weighted(plain: Recipe) -> Recipe:
    return replace(
        plain,
        name=f"{plain.name}+imatrix",
        build={**plain.build, "imatrix": True},
        calibrated=True,
        why=f"{plain.why}; rounding errors weighted by the activations on the calibration text",
    )


def _refined(weighted: Recipe, effort: Effort) -> Recipe:
    return replace(
        weighted,
        name=f"{weighted.name.removesuffix('+imatrix')}+gptq",
        build={**weighted.build, "gptq": True},
        effort=effort,
        why=f"{weighted.why}; GPTQ then improves the codes at the same format and size, of the other tensors too",
    )


def bits_of(tensor: LargeTensor | Tensor) -> float:
    """Return the bits per weight of a stored tensor."""
    return 8 * tensor.bytes / tensor.elements


def type_bits(name: str) -> float:
    """Return the bits per weight of a GGML type."""
    kind = type_named(name)
    return 8 * kind.bytes / kind.block


def options(header: Header, lower: Mapping[str, Any]) -> list[str]:
    """Return options of llama-quantize that give every matrix its own type, or the level's if that has fewer bits.

    lower: level, types, and tensor if only that one is lowered. Returns no options if no tensor would change.
    """
    types = {
        name: _type(name, tensor, lower) for name, tensor in header.tensors.items() if len(tensor.dims) > 1
    }
    if all(kind == header.tensors[name].type.name for name, kind in types.items()):
        return []
    arguments = []
    for name, kind in types.items():
        arguments += ["--tensor-type", f"^{re.escape(name)}$={kind}"]
    return arguments


def stated_type(header: Header) -> str:
    """Return the name under which llama-quantize writes the file: its own, if that is the name of a quantized type."""
    own = file_type(header.values.get("general.file_type"))
    return own if own and own not in _UNSTATED else _OTHERWISE


def _type(name: str, tensor: Tensor, lower: Mapping[str, Any]) -> str:
    if lower.get("tensor", name) == name and name.endswith("weight"):
        kind = _fitting(lower, tensor.dims[0])
        if kind is not None and kind["bits"] < bits_of(tensor) and tensor.type.name != "F32":
            return str(kind["type"])
    return tensor.type.name


def _fitting(level: Mapping[str, Any], row: int) -> Mapping[str, Any] | None:
    """Return the first type of a level whose blocks divide the rows."""
    return next((kind for kind in level["types"] if row % kind["block"] == 0), None)
