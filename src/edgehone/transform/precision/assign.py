"""Mixed-precision assignment: choose one of a framework's types for each weight, within a budget, by its sensitivity.

The sensitivity table is measured once on the original and serves all frameworks (`backends.pytorch.sensitivity`);
each framework's menu of types is data. The divergence of a weight at another precision is its divergence at the
anchor, times the ratio of the squared errors: KL divergence is quadratic in a small error (HAWQ-V2, Dong et al.
2019, arXiv:1911.03852, distributes bits by the same product). Divergences of single weights are added up.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgehone.core.errors import InputError
from edgehone.transform.precision.solver import solve

TABLE = "sensitivity.json"
# Bit widths for which rounding errors are measured; the frameworks' types are mapped to these.
BITS = (2, 3, 4, 5, 6, 8)
# Number of weights in a row that share a scale. 0: the whole row.
GROUPS = (32, 64, 128, 0)
# Bits and group at which the divergence itself is measured: coarse enough to exceed floating-point rounding, fine
# enough to stay in the range where the divergence is quadratic.
ANCHOR = (4, 64)
FLOAT_BITS = 16


@dataclass(frozen=True)
class Weight:
    """A matrix of the original, named after its module; `kl` is its divergence at the anchor in nats per token.

    `errors` maps keys of `error_key` to the squared error, weighted by the activations, relative to that at the
    anchor. `kind` is "linear", "embedding", "head", or "tied" for embeddings that also serve as the head.
    """

    name: str
    rows: int
    columns: int
    kind: str
    kl: float
    errors: Mapping[str, float]

    @property
    def count(self) -> int:
        """The number of weights in the matrix."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Option:
    """A precision in a framework's menu: its `type`, treated as rounding to `bits` in groups of `group`.

    `weighs` is the bits per weight including scales; `block` must divide the length of a row; `kinds` lists the
    kinds of weights that may have this type (all if empty). The cost is that of the neutral rounding times `share`.
    `below` and `most`: the type is only for budgets of fewer bits per weight, and models of at most so many weights.
    """

    type: str
    bits: int
    group: int
    weighs: float
    block: int = 1
    kinds: tuple[str, ...] = ()
    share: float = 1.0
    below: float = math.inf
    most: float = math.inf

    def fits(self, weight: Weight) -> bool:
        """Return True if a weight can have this type."""
        allowed = not self.kinds or weight.kind in self.kinds
        known = self.bits >= FLOAT_BITS or error_key(self.bits, self.group) in weight.errors
        return allowed and known and weight.columns % self.block == 0

    def size(self, weight: Weight) -> int:
        """Return the size of a weight in bytes."""
        return -(-int(weight.count * self.weighs) // 8)

    def cost(self, weight: Weight) -> float:
        """Return the predicted divergence that rounding a weight adds, in nats per token."""
        if self.bits >= FLOAT_BITS:
            return 0.0
        return weight.kl * weight.errors[error_key(self.bits, self.group)] * self.share


@dataclass(frozen=True)
class Assignment:
    """An option for each weight, by name.

    `bytes` is the total size, `bits` the average per weight, `kl` the sum of the predicted divergences, and `gap` an
    upper bound of its distance from the minimum.
    """

    options: Mapping[str, Option]
    bytes: int
    bits: float
    kl: float
    gap: float

    def facts(self) -> dict[str, Any]:
        """Return the facts that a build records: type by weight, and predicted bits per weight, bytes and nats."""
        return {
            "types": {name: option.type for name, option in self.options.items()},
            "bits_per_weight": self.bits,
            "bytes": self.bytes,
            "kl_added_up": self.kl,
            "kl_gap": self.gap,
        }


def error_key(bits: int, group: int) -> str:
    """Return the key of a precision in a sensitivity table."""
    return f"{bits}x{group or 'row'}"


def read(folder: Path) -> list[Weight]:
    """Read the sensitivity table that the measuring step wrote to a folder."""
    rows = json.loads((folder / TABLE).read_text("utf-8"))["tensors"]
    return [Weight(**row) for row in rows]


def menu(entries: Iterable[Mapping[str, Any]]) -> list[Option]:
    """Parse options from a backend's table: type, bits, group, weighs, and optionally block and kinds."""
    return [Option(**{**entry, "kinds": tuple(entry.get("kinds", ()))}) for entry in entries]


def assign(
    weights: Sequence[Weight],
    options: Sequence[Option],
    *,
    bits: float | None = None,
    size: int | None = None,
    together: str | None = None,
    own: Mapping[str, Option] = MappingProxyType({}),
) -> Assignment:
    """Choose an option for each weight so that the total divergence is minimal.

    The budget is `bits` per weight on average, or `size` bytes in total. `together` is a regular expression: weights
    whose names differ only in what it matches get the same option, as runtimes that fuse them require. `own` are the
    precisions that weights have already, which are options for these weights; none of as many bits is. Raises
    InputError if no option fits a weight, or the budget is too small.
    """
    count = sum(weight.count for weight in weights)
    budget = size if size is not None else int(count * (bits or 0) / 8)
    options = [one for one in options if 8 * budget < one.below * count and count <= one.most]
    groups: dict[str, list[Weight]] = {}
    for weight in weights:
        groups.setdefault(re.sub(together, "*", weight.name) if together else weight.name, []).append(weight)
    fitting: list[list[Option]] = []
    for name, members in groups.items():
        allowed = [option for option in options if all(option.fits(one) for one in members)]
        if (has := own.get(name)) is not None:
            allowed = [*(option for option in allowed if option.weighs < has.weighs), has]
        if not allowed:
            raise InputError(
                f"no type fits {name}: its rows have {members[0].columns} weights",
                hint="choose another backend with --backends",
            )
        fitting.append(allowed)
    solution = solve(
        [
            [(sum(map(option.size, members)), sum(map(option.cost, members))) for option in allowed]
            for members, allowed in zip(groups.values(), fitting, strict=True)
        ],
        budget,
    )
    chosen = {
        one.name: allowed[at]
        for members, allowed, at in zip(groups.values(), fitting, solution.chosen, strict=True)
        for one in members
    }
    return Assignment(chosen, solution.size, 8 * solution.size / count, solution.cost, solution.gap)


def from_mix(
    mix: Mapping[str, Any],
    folder: Path,
    fixed: int = 0,
    own: Mapping[str, Option] = MappingProxyType({}),
) -> Assignment:
    """Return the assignment for a build step's argument `mix`, with the sensitivity table in `folder`.

    `mix` holds the menu, optionally `together`, and either `bits` per weight or `bytes` of the whole artifact, of
    which `fixed` bytes are not weights. `own`: as for `assign`.
    """
    size = mix["bytes"] - fixed if "bytes" in mix else None
    options = menu(mix["menu"])
    return assign(
        read(folder), options, bits=mix.get("bits"), size=size, together=mix.get("together"), own=own
    )


def fallbacks(assignment: Assignment, written: Mapping[str, str]) -> dict[str, str]:
    """Return the weights whose type in the written file differs from the assigned one: name → "assigned → written".

    Weights that are missing in the file are included.
    """
    return {
        name: f"{option.type} → {written.get(name, 'not found')}"
        for name, option in assignment.options.items()
        if written.get(name, "").lower() != option.type.lower()
    }
