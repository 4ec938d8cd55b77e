"""Rank the backends for a platform by the selection matrix and the decision tree, which are both data files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.model.info import ModelInfo

SHIPPED = {name: Path(__file__).with_name(f"{name}.toml") for name in ("matrix", "tree")}
FACTS = ("kind", "task", "model_format", "experts", "row")


@dataclass(frozen=True)
class Ranked:
    """A backend in the ranking, and the reason for its rank."""

    backend: str
    why: str


@dataclass(frozen=True)
class Matrix:
    """The rows of the selection matrix by platform, and the branches of the decision tree in order."""

    rows: Mapping[str, Mapping[str, Any]]
    tree: Sequence[Mapping[str, Any]]

    def row(self, name: str) -> Mapping[str, Any]:
        """Return a row. Raises InputError if the matrix does not have it."""
        if name not in self.rows:
            raise InputError(f"the matrix has no row {name!r}", hint=f"rows: {', '.join(self.rows)}")
        return self.rows[name]

    def unsupported(self, row: str) -> dict[str, str]:
        """Return the backends that cannot run on a platform, with reasons."""
        return {str(name): str(why) for name, why in self.row(row).get("out", {}).items()}


def load(config: Mapping[str, Any] | None = None) -> Matrix:
    """Load the shipped matrix and tree, or the user's files ([plan] matrix and [plan] tree in edgehone.toml).

    Raises InputError, with file and entry, if a file is missing or invalid.
    """
    plan = (config or {}).get("plan", {})
    if not isinstance(plan, Mapping):
        raise InputError(f"plan in edgehone.toml is {plan!r}, not a table", hint="write [plan]")
    for key in plan:
        if key not in SHIPPED:
            raise InputError(f"unknown key {key!r} in [plan] of edgehone.toml", hint=suggest(key, SHIPPED))
    rows = _read(plan, "matrix")
    where = str(plan.get("matrix", SHIPPED["matrix"]))
    for row, entry in rows.items():
        _check_row(f"{where}: [{row}]", entry)
    tree = _read(plan, "tree").get("tree", [])
    where = str(plan.get("tree", SHIPPED["tree"]))
    if not isinstance(tree, list):
        raise InputError(f"{where}: tree is {tree!r}", hint="write [[tree]]")
    for at, branch in enumerate(tree, 1):
        _check_branch(f"{where}: [[tree]] {at}", branch)
    return Matrix(rows, tree)


def rank(matrix: Matrix, row: str, model: ModelInfo, backends: Sequence[str]) -> list[Ranked]:
    """Rank `backends`: those of the first matching tree branch, then those of the row, then the rest in given order.

    Raises InputError if the matrix does not have the row.
    """
    entry = matrix.row(row)
    whys: dict[str, str] = {}
    facts = {
        "kind": model.kind,
        "task": model.task,
        "model_format": model.format,
        "experts": bool(model.experts),
        "row": row,
    }
    for branch in matrix.tree:
        if all(facts[name] == value for name, value in branch["if"].items()):
            whys |= dict.fromkeys(branch["first"], branch["why"])
            break
    whys |= {
        name: entry.get("why", {}).get(name, f"listed for {row}")
        for name in entry["order"]
        if name not in whys
    }
    whys |= {
        name: f"not listed for {row}, so it is tried after the listed backends"
        for name in backends
        if name not in whys
    }
    return [Ranked(name, why) for name, why in whys.items() if name in backends]


def _read(plan: Mapping[str, Any], name: str) -> dict[str, Any]:
    path = Path(str(plan.get(name, SHIPPED[name])))
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"the {name} {path} cannot be read: {error}", hint=f"use the format of {SHIPPED[name]}"
        ) from error


def _check_row(where: str, entry: Any) -> None:
    if not isinstance(entry, Mapping) or not _names(entry.get("order")):
        raise InputError(f"{where} has no order", hint='write order = ["llamacpp", "openvino"]')
    for key in ("why", "out"):
        table = entry.get(key, {})
        if not isinstance(table, Mapping) or not all(isinstance(why, str) for why in table.values()):
            raise InputError(f"{where}: {key} is {table!r}", hint=f'write {key}.llamacpp = "the reason"')


def _check_branch(where: str, branch: Any) -> None:
    facts = branch.get("if") if isinstance(branch, Mapping) else None
    if not isinstance(facts, Mapping) or not facts:
        raise InputError(f"{where} has no if", hint='write if = { kind = "language" }')
    for name in facts:
        if name not in FACTS:
            raise InputError(f"{where}: unknown fact {name!r}", hint=suggest(name, FACTS))
    if not _names(branch.get("first")):
        raise InputError(f"{where} has no first", hint='write first = ["llamacpp"]')
    if not isinstance(branch.get("why"), str):
        raise InputError(f"{where} has no why", hint='write why = "the reason"')


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
