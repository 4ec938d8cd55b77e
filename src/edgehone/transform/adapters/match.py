"""Which tensors of a base model an adapter changes, and whether it fits that model at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgehone.core.errors import ModelError
from edgehone.formats.safetensors import Tensor, read_header
from edgehone.model.stores.hub_cache import hub_name_of, parsed
from edgehone.transform.adapters.config import WEIGHTS, AdapterConfig

Stored = Mapping[str, tuple[Path, Tensor]]

_PREFIX = "base_model.model."
_LOW_RANK = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B)(\.default)?(\.weight)?")
_TABLES = re.compile(r"\b(embed_tokens|wte|lm_head)\b")
# A base model saved alone, and one saved with its head, differ in this part of the names.
_HEADS = ("", "model.", "transformer.")


@dataclass(frozen=True)
class Change:
    """A change of one tensor of the base: scale · B·A, or its replacement, by the names of the adapter's tensors."""

    module: str
    a: str = ""
    b: str = ""
    embedding: bool = False
    whole: str = ""  # the tensor that replaces the base's


@dataclass(frozen=True)
class Fit:
    """The changes by the base's tensor, and the adapter's tensors."""

    changes: Mapping[str, Change]
    stored: Mapping[str, Tensor] = field(default_factory=dict)


def fit(config: AdapterConfig, base: Path, tensors: Stored, *, tied: bool = False) -> Fit:
    """Return the changes of an adapter to a base model with these tensors.

    `tied`: the base's token table is its head, too. Raises ModelError, naming the base that the adapter states, if it
    is for another one: another name on the hub, a tensor that the base does not have, or another shape; for an adapter
    without changes; and for one that changes a table that is used twice.
    """
    check_name(config, base)
    stored = read_header(config.folder / WEIGHTS)
    if tied:
        _check_tables(config, base, stored)
    parts: dict[str, dict[str, str]] = {}
    changes: dict[str, Change] = {}
    for name in stored:
        inner = name.removeprefix(_PREFIX)
        if matched := _LOW_RANK.fullmatch(inner):
            parts.setdefault(matched["module"], {})[matched["part"]] = name
        elif ".lora_" in inner:
            raise ModelError(
                f"{config.folder}: the tensor {name!r} is no part of a plain LoRA",
                hint="merge it with PEFT: merge_and_unload",
            )
        else:  # modules_to_save, and biases
            target = _target(
                config,
                base,
                tensors,
                inner.replace(".modules_to_save.default", "").replace(".base_layer", ""),
            )
            _check_shape(config, base, target, tensors[target][1].shape, stored[name].shape)
            changes[target] = Change(target, whole=name)
    for module, found in parts.items():
        target = _target(config, base, tensors, f"{module.removesuffix('.base_layer')}.weight")
        changes[target] = _low_rank(config, base, module, found, stored, (target, tensors[target][1]))
    if not changes:
        raise ModelError(
            f"{config.folder / WEIGHTS} holds no tensor", hint="copy or download the adapter again"
        )
    return Fit(changes, stored)


def check_name(config: AdapterConfig, base: Path) -> None:
    """Raise ModelError if the adapter and the base have different names on the hub. Paths on a disk tell nothing."""
    own = hub_name_of(base)
    stated = parsed(config.base or "")
    if own is None or stated is None or Path(config.base or "").exists():
        return
    if own.casefold() != stated.repository.casefold():
        raise ModelError(
            f"{config.folder} is an adapter for {config.base}, and {base} is {own}",
            hint=f"give its base: {config.base}; if {own} has the same weights, write that name as "
            "base_model_name_or_path in adapter_config.json",
        )


def _check_tables(config: AdapterConfig, base: Path, stored: Mapping[str, Tensor]) -> None:
    for name in stored:
        if _TABLES.search(name):
            raise ModelError(
                f"{config.folder} changes {name!r}, but in {base} one table is both the embedding and the head: "
                "merging would change the other one as well",
                hint="merge it with PEFT, which unties them: merge_and_unload, then save the merged model",
            )


def _low_rank(
    config: AdapterConfig,
    base: Path,
    module: str,
    found: Mapping[str, str],
    stored: Mapping[str, Tensor],
    target: tuple[str, Tensor],
) -> Change:
    embedding = "embedding_A" in found or "embedding_B" in found
    ends = ("embedding_A", "embedding_B") if embedding else ("A", "B")
    if set(found) != set(ends):
        raise ModelError(
            f"{config.folder}: {module} has {', '.join(sorted(found))} of the matrices {' and '.join(ends)}",
            hint="copy or download the adapter again",
        )
    a, b = (stored[found[end]] for end in ends)
    if (
        len(a.shape) != 2
        or len(b.shape) != 2
        or a.shape[0] != b.shape[1]
        or a.shape[0] != config.rank_of(module)
    ):
        raise ModelError(
            f"{config.folder}: the matrices of {module} have the shapes {list(a.shape)} and {list(b.shape)}, "
            f"which do not fit the rank {config.rank_of(module)}",
            hint="copy or download the adapter again",
        )
    shape = (b.shape[0], a.shape[1])
    if embedding or config.transposed:
        shape = shape[::-1]
    _check_shape(config, base, target[0], target[1].shape, shape)
    return Change(module, found[ends[0]], found[ends[1]], embedding)


def _target(config: AdapterConfig, base: Path, tensors: Stored, name: str) -> str:
    """Return the base's tensor of this name, which may lack or have the part of the model without its head."""
    for cut in _HEADS:
        if not name.startswith(cut):
            continue
        for put in _HEADS:
            if (candidate := put + name.removeprefix(cut)) in tensors:
                return candidate
    raise _another(config, base, f"it changes {name}, which that model does not have")


def _check_shape(
    config: AdapterConfig, base: Path, name: str, own: tuple[int, ...], other: tuple[int, ...]
) -> None:
    if own != other:
        raise _another(
            config, base, f"{name} has the shape {list(own)} there, and {list(other)} in the adapter"
        )


def _another(config: AdapterConfig, base: Path, why: str) -> ModelError:
    stated = config.base or "a base that it does not state"
    return ModelError(
        f"{config.folder} is an adapter for {stated}, not for {base}: {why}",
        hint=f"give its base: {config.base}"
        if config.base
        else "give the model that the adapter was trained on",
    )
