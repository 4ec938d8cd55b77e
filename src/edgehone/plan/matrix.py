"""Which backends to try first on a platform, and why: the selection matrix and the decision tree, both data."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.errors import InputError
from edgehone.model.info import ModelInfo

SHIPPED = Path(__file__).with_name("matrix.toml")


@dataclass(frozen=True)
class Ranked:
    """A backend at its place, and the reason."""

    backend: str
    why: str


def load(config: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """The shipped matrix, or the user's ([plan] matrix). Raises InputError for a file that cannot be used."""
    given = (config or {}).get("plan", {}).get("matrix")
    if given is None:
        return tomllib.loads(SHIPPED.read_text("utf-8"))
    path = Path(str(given))
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"the matrix {path} cannot be read: {error}", hint=f"its form is that of {SHIPPED}"
        ) from error
    for row, entry in table.items():
        if row != "tree" and not (isinstance(entry, Mapping) and isinstance(entry.get("order"), list)):
            raise InputError(f"{path}: [{row}] has no order", hint='write order = ["llamacpp", "openvino"]')
    return table


def rank(matrix: Mapping[str, Any], row: str, model: ModelInfo, backends: Sequence[str]) -> list[Ranked]:
    """All `backends` in the row's order, what the tree puts first before them; the rest keep their own order.

    Raises InputError for a row that the matrix lacks.
    """
    if row not in matrix:
        raise InputError(
            f"the matrix has no row {row!r}",
            hint=f"rows: {', '.join(name for name in matrix if name != 'tree')}",
        )
    entry = matrix[row]
    whys: dict[str, str] = {}
    facts = {
        "kind": model.kind,
        "task": model.task,
        "model_format": model.format,
        "experts": bool(model.experts),
        "row": row,
    }
    for branch in matrix.get("tree", ()):
        if all(facts.get(name) == value for name, value in branch["if"].items()):
            whys |= dict.fromkeys(branch["first"], branch["why"])
            break
    whys |= {
        name: entry.get("why", {}).get(name, f"named for {row}")
        for name in entry["order"]
        if name not in whys
    }
    whys |= {
        name: f"not named for {row}: tried after those that are" for name in backends if name not in whys
    }
    return [Ranked(name, why) for name, why in whys.items() if name in backends]
