"""Mixed-precision assignment: menus, budgets, and weights that share one type."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.transform.precision import assign
from edgehone.transform.precision.assign import Option, Weight, error_key, from_mix

ERRORS = {
    error_key(bits, group): 4.0 ** (4 - bits) * (group or 256) / 64
    for bits in (3, 4, 6, 8)
    for group in (32, 64, 0)
}
MENU = [
    Option("three", 3, 64, 3.5),
    Option("four", 4, 64, 4.5, block=64),
    Option("six", 6, 64, 6.5, block=64),
    Option("half", 16, 0, 16.0),
]


def weight(name: str, kl: float, **change: Any) -> Weight:
    return replace(Weight(name, 64, 256, "linear", kl, ERRORS), **change)


def test_sensitive_weights_get_more_bits() -> None:
    weights = [weight("a", 0.1), weight("b", 0.001), weight("c", 0.0001)]
    found = assign.assign(weights, MENU, bits=5.0)
    kinds = {name: option.type for name, option in found.options.items()}
    assert kinds == {"a": "six", "b": "four", "c": "three"}
    assert found.bits <= 5.0 and found.bytes == sum(64 * 256 * bits // 8 for bits in (6.5, 4.5, 3.5))
    assert found.kl == pytest.approx(0.1 / 16 + 0.001 + 0.0001 * 4)
    assert found.facts()["types"]["a"] == "six"


def test_sixteen_bits_add_no_divergence() -> None:
    assert assign.assign([weight("a", 1.0)], MENU, bits=16).kl == 0.0


def test_types_are_limited_by_row_length_and_kind_of_weight() -> None:
    odd = weight("odd", 0.1, columns=96, errors={"3x32": 4.0, "3x64": 4.0})
    assert assign.assign([odd], MENU, bits=15).options["odd"].type == "three"
    only = [replace(MENU[1], kinds=("head",)), MENU[0]]
    assert (
        assign.assign([weight("a", 1.0), weight("h", 1.0, kind="head")], only, bits=8).options["a"].type
        == "three"
    )
    with pytest.raises(InputError, match="no type fits odd: its rows have 96 weights"):
        assign.assign([odd], MENU[1:3], bits=8)


def test_a_type_may_be_only_for_small_budgets_and_models() -> None:
    slow = replace(MENU[1], type="slow", share=0.5, below=5.0, most=2 * 64 * 256)
    weights = [weight("a", 0.1), weight("b", 0.1)]
    chosen = assign.assign(weights, [*MENU, slow], bits=4.6)
    assert {one.type for one in chosen.options.values()} == {"slow"}
    assert chosen.kl == pytest.approx(0.1)  # half of what the neutral rounding costs
    assert assign.assign(weights, [*MENU, slow], size=18_500).options["a"].type == "slow"
    for budget, count in ((5.0, 2), (4.6, 3)):  # not below its budget, more weights than it is for
        many = [weight(str(at), 0.1) for at in range(count)]
        assert "slow" not in {
            one.type for one in assign.assign(many, [*MENU, slow], bits=budget).options.values()
        }


def test_weights_matched_by_together_get_the_same_type() -> None:
    weights = [
        weight("layers.0.q_proj", 0.5),
        weight("layers.0.k_proj", 1e-9),
        weight("layers.1.q_proj", 1e-9),
    ]
    found = assign.assign(weights, MENU, bits=5.6, together=r"[qk]_proj")
    kinds = [option.type for option in found.options.values()]
    assert kinds[0] == kinds[1] == "six" and kinds[2] == "three"


def test_from_mix_reads_the_table_and_subtracts_fixed_bytes(tmp_path: Path) -> None:
    row = {"name": "a", "rows": 64, "columns": 256, "kind": "linear", "kl": 0.1, "errors": ERRORS}
    (tmp_path / assign.TABLE).write_text(json.dumps({"tensors": [row]}), "utf-8")
    menu = [
        {"type": "four", "bits": 4, "group": 64, "weighs": 4.5},
        {"type": "six", "bits": 6, "group": 64, "weighs": 6.5},
    ]
    assert from_mix({"menu": menu, "bits": 7.0}, tmp_path).options["a"].type == "six"
    # 2,000 of the 12,000 bytes are not weights: 4.5 bits per weight fit (9,216 bytes), 6.5 do not.
    assert from_mix({"menu": menu, "bytes": 12_000}, tmp_path, 2_000).options["a"].type == "four"
    with pytest.raises(InputError, match="8,000 bytes are too few"):
        from_mix({"menu": menu, "bytes": 10_000}, tmp_path, 2_000)


def test_fallbacks_list_types_that_differ_from_the_assignment() -> None:
    found = assign.assign([weight("a", 0.1), weight("b", 0.1), weight("c", 0.1)], MENU[1:2], bits=5)
    assert assign.fallbacks(found, {"a": "FOUR", "b": "five"}) == {
        "b": "four → five",
        "c": "four → not found",
    }


def test_a_weight_may_keep_what_it_has_and_gets_no_more_bits() -> None:
    has = {"a": Option("q5", assign.FLOAT_BITS, 0, 5.5), "b": Option("q2", assign.FLOAT_BITS, 0, 2.0)}
    weights = [weight("a", 1.0), weight("b", 1.0), weight("c", 1.0)]
    found = assign.assign(weights, MENU, bits=16, own=has)
    assert found.options["a"].type == "q5" and found.options["b"].type == "q2" and found.kl == 0.0
    assert found.options["c"].weighs == 16
    less = assign.assign(weights[:2], MENU, bits=3.5, own=has)
    assert less.options["b"].type == "q2" and less.options["a"].weighs <= 5.0 and less.kl > 0
