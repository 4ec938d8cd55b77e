"""Quantization groups (weights that share a scale): check whether a group size divides the rows of a model.

Some frameworks silently leave rows unquantized if the group size does not divide them, so such recipes are not offered.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgehone.model.info import ModelInfo


def rows(model: ModelInfo) -> dict[str, int]:
    """Return the lengths of the rows that are split into groups, as far as the model's files state them."""
    heads = model.heads * model.head_dim if model.heads and model.head_dim else None
    sizes = {"hidden": model.hidden_size, "intermediate": model.intermediate_size, "attention": heads}
    return {name: size for name, size in sizes.items() if size}


def fits(group: int, sizes: Mapping[str, int]) -> bool:
    """Return True if the group size divides all rows. 0 means no groups."""
    return not group or all(size % group == 0 for size in sizes.values())


def unfit(group: int, sizes: Mapping[str, int]) -> str:
    """Return a text that lists the rows that the group size does not divide."""
    return ", ".join(f"{size} ({name})" for name, size in sizes.items() if size % group)
