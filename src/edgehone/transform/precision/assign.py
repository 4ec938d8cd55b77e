"""From a table of what rounding costs to one precision for each weight: a menu of a framework's types, and a budget.

The table is measured once on the original and is the same for all (`backends.pytorch_sensitivity`); a menu is data of a
framework. The divergence of a weight alone at another precision is what it is at the anchor, times the ratio of the
squared errors: KL is quadratic in a small error (HAWQ-V2, Dong et al. 2019, arXiv:1911.03852, spends bits by the same
product). Divergences of single weights are added up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.core.errors import InputError
from edgehone.transform.precision.solver import solve

TABLE = "sensitivity.json"
# What the frameworks have in common, and groups within a row that share a scale. 0: the whole row.
BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128, 0)
# Where the divergence itself is measured: coarse enough to rise above the rounding of floats, fine enough to be
# in the range where it is quadratic.
ANCHOR = (4, 64)
FLOAT_BITS = 16


@dataclass(frozen=True)
class Weight:
    """A matrix of the original by its module's name; `kl` is its divergence at the anchor, nats a token.

    `errors`: what `error_key` names → squared error, weighted by the activations, as a share of the anchor's. `kind`
    is "linear", "embedding", "head", or "tied" for embeddings that are the head too.
    """

    name: str
    rows: int
    columns: int
    kind: str
    kl: float
    errors: Mapping[str, float]

    @property
    def count(self) -> int:
        """How many weights it has."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Option:
    """A precision of a framework's menu: the framework's own `type`, rounded like `bits` in groups of `group`.

    `weighs` is bits a weight with scales; `block` what a row must divide by; `kinds` the kinds of weights that can
    have it, all if empty.
    """

    type: str
    bits: int
    group: int
    weighs: float
    block: int = 1
    kinds: tuple[str, ...] = ()

    def fits(self, weight: Weight) -> bool:
        """Whether a weight can have it."""
        allowed = not self.kinds or weight.kind in self.kinds
        known = self.bits >= FLOAT_BITS or error_key(self.bits, self.group) in weight.errors
        return allowed and known and weight.columns % self.block == 0

    def size(self, weight: Weight) -> int:
        """Bytes of a weight."""
        return -(-int(weight.count * self.weighs) // 8)

    def cost(self, weight: Weight) -> float:
        """Nats a token that a weight costs."""
        if self.bits >= FLOAT_BITS:
            return 0.0
        return weight.kl * weight.errors[error_key(self.bits, self.group)]


@dataclass(frozen=True)
class Assignment:
    """`options` by the weights' names; the bytes of all; the divergence that adds up, and its gap to the least."""

    options: Mapping[str, Option]
    bytes: int
    bits: float
    kl: float
    gap: float

    def facts(self) -> dict[str, Any]:
        """What a build records: types by weight, predicted bits a weight, bytes and nats."""
        return {
            "types": {name: option.type for name, option in self.options.items()},
            "bits_per_weight": self.bits,
            "bytes": self.bytes,
            "kl_added_up": self.kl,
            "kl_gap": self.gap,
        }


def error_key(bits: int, group: int) -> str:
    """The name of a precision in a table."""
    return f"{bits}x{group or 'row'}"


def read(folder: Path) -> list[Weight]:
    """The table that the measuring step wrote into a folder."""
    rows = json.loads((folder / TABLE).read_text("utf-8"))["tensors"]
    return [Weight(**row) for row in rows]


def menu(entries: Iterable[Mapping[str, Any]]) -> list[Option]:
    """Options from a backend's table: type, bits, group, weighs, and block and kinds where they limit it."""
    return [Option(**{**entry, "kinds": tuple(entry.get("kinds", ()))}) for entry in entries]


def assign(
    weights: Sequence[Weight],
    options: Sequence[Option],
    *,
    bits: float | None = None,
    size: int | None = None,
    together: str | None = None,
) -> Assignment:
    """One option for each weight, of the least divergence within `bits` a weight, or within `size` bytes.

    `together` is a pattern: weights whose names differ only in what it matches get one option, as runtimes need that
    fuse them. Raises InputError where no option fits a weight, and for a budget that is too small.
    """
    groups: dict[str, list[Weight]] = {}
    for weight in weights:
        groups.setdefault(re.sub(together, "*", weight.name) if together else weight.name, []).append(weight)
    fitting: list[list[Option]] = []
    for name, members in groups.items():
        found = [option for option in options if all(option.fits(one) for one in members)]
        if not found:
            raise InputError(
                f"no type fits {name}: its rows have {members[0].columns} weights",
                hint="give another backend: --backends",
            )
        fitting.append(found)
    count = sum(weight.count for weight in weights)
    budget = size if size is not None else int(count * (bits or 0) / 8)
    solution = solve(
        [
            [(sum(map(option.size, members)), sum(map(option.cost, members))) for option in found]
            for members, found in zip(groups.values(), fitting, strict=True)
        ],
        budget,
    )
    chosen = {
        one.name: found[at]
        for members, found, at in zip(groups.values(), fitting, solution.chosen, strict=True)
        for one in members
    }
    return Assignment(chosen, solution.size, 8 * solution.size / count, solution.cost, solution.gap)


def asked(told: Mapping[str, Any], folder: Path, fixed: int = 0) -> Assignment:
    """The assignment that a build step is told of by its argument `mix`, over the table in `folder`.

    `mix` holds the menu, `together` where there is one, and `bits` a weight, or `bytes` of the whole artifact, of
    which `fixed` are other than weights.
    """
    size = told["bytes"] - fixed if "bytes" in told else None
    options = menu(told["menu"])
    return assign(read(folder), options, bits=told.get("bits"), size=size, together=told.get("together"))


def fallbacks(assignment: Assignment, written: Mapping[str, str]) -> dict[str, str]:
    """Where a file holds another type than was assigned: weight → "assigned → written", missing ones too."""
    return {
        name: f"{option.type} → {written.get(name, 'not found')}"
        for name, option in assignment.options.items()
        if written.get(name, "").lower() != option.type.lower()
    }
