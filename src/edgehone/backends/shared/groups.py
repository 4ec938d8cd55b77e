"""Groups of weights that share a scale: which sizes divide the rows of a model, and which do not.

A row that a group does not divide is left unquantized by some frameworks in silence; so such recipes are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgehone.model.info import ModelInfo


def rows(model: ModelInfo) -> dict[str, int]:
    """The lengths of the rows that are cut into groups, as far as the files tell."""
    heads = model.heads * model.head_dim if model.heads and model.head_dim else None
    named = {"hidden": model.hidden_size, "intermediate": model.intermediate_size, "attention": heads}
    return {name: size for name, size in named.items() if size}


def fits(group: int, sizes: Mapping[str, int]) -> bool:
    """Whether a group divides all rows; 0 is no group."""
    return not group or all(size % group == 0 for size in sizes.values())


def unfit(group: int, sizes: Mapping[str, int]) -> str:
    """The rows that a group does not divide, for people."""
    return ", ".join(f"{size} ({name})" for name, size in sizes.items() if size % group)
