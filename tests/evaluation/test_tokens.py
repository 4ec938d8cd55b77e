"""Comparing tokenizers: shares of differing ids, and what disqualifies."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from edgehone.evaluation.tokens import PART, compare, differing

LIMIT = 1e-3
LONG = random.Random(1).choices(range(3000), k=20_000)


def texts(**ids: list[int]) -> list[dict[str, Any]]:
    return [{"kind": kind, "text": f"<{kind}>", "ids": found} for kind, found in ids.items()]


@pytest.mark.parametrize("position", [0, 1, PART - 1, PART, 7000, len(LONG) - 1])
def test_one_inserted_deleted_or_changed_id_counts_as_one(position: int) -> None:
    assert differing(LONG, [*LONG[:position], 9999, *LONG[position:]]) == 1
    assert differing(LONG, LONG[:position] + LONG[position + 1 :]) == 1
    assert differing(LONG, [*LONG[:position], 9999, *LONG[position + 1 :]]) == 1


def test_another_tokenizer_differs_in_nearly_all_ids() -> None:
    other = random.Random(2).choices(range(3000), k=24_000)
    assert differing(LONG, other) > 0.9 * len(LONG)
    assert differing(LONG, []) == differing([], LONG) == len(LONG)
    assert differing(LONG, [-1] * len(LONG)) >= len(LONG)


@settings(deadline=None)
@given(some.lists(some.integers(0, 9), max_size=600), some.lists(some.integers(0, 9), max_size=600))
def test_the_number_is_0_for_equal_ids_only_and_bounded(a: list[int], b: list[int]) -> None:
    count = differing(a, b)
    assert (count == 0) == (a == b)
    assert abs(len(a) - len(b)) <= count <= len(a) + len(b)


@settings(deadline=None)
@given(some.integers(0, 10_000), some.lists(some.integers(0, 9999), min_size=1, max_size=PART // 2))
def test_an_inserted_run_counts_as_its_length(position: int, run: list[int]) -> None:
    apart = [i + 5000 for i in run]
    assert differing(LONG, LONG[:position] + apart + LONG[position:]) == len(run)


def test_equal_ids_have_no_notes() -> None:
    given = texts(evaluation=[1, 5, 6], plain=[1, 7], special=[1, 2], template=[1, 3])
    got = compare(given, [one["ids"] for one in given], [1], LIMIT, portable=True)
    assert got.equal and not got.notes and got.fault is None
    assert (got.mismatch.value, got.mismatch.n, got.mismatch.unit) == (0.0, 2, "share")


def test_differences_around_special_tokens_are_noted_and_do_not_disqualify() -> None:
    given = texts(evaluation=[1, 5], plain=[1, 7], special=[1, 2, 29871, 3])
    for portable in (True, False):
        got = compare(given, [[1, 5], [1, 7], [1, 2, 3]], [1], LIMIT, portable=portable)
        assert got.fault is None and not got.equal
        assert got.mismatch.value == 0.0
        assert "'<special>' is [2, 3] instead of [2, 29871, 3]" in got.notes[0]


def test_a_share_above_the_limit_on_either_text_disqualifies() -> None:
    wrong = [i + 5000 if i % 400 == 0 else i for i in LONG]
    share = sum(i % 400 == 0 for i in LONG) / len(LONG)
    for kind, where in (("evaluation", "the evaluation text"), ("plain", "a plain text")):
        given = texts(evaluation=LONG, plain=LONG)
        ids = [wrong if one["kind"] == kind else LONG for one in given]
        got = compare(given, ids, [], LIMIT, portable=True)
        assert got.mismatch.value == pytest.approx(share)
        assert got.fault is not None and f"{share:.2%} of {where} (at most 0.1%)" in got.fault


def test_a_share_below_the_limit_passes() -> None:
    found = [*LONG[:50], 9999, *LONG[51:]]
    got = compare(texts(evaluation=LONG, plain=[1]), [found, [1]], [], LIMIT, portable=True)
    assert got.fault is None and not got.equal
    assert got.mismatch.value == 1 / len(LONG)


def test_bos_and_template_matter_only_if_the_runtime_tokenizes_the_prompt() -> None:
    given = texts(evaluation=[1, 5, 6], plain=[1, 7], template=[1, 3, 4])
    found = [[5, 6], [7], [3, 9]]
    noted = compare(given, found, [1], LIMIT, portable=True)
    assert noted.fault is None and noted.mismatch.value == 0.0
    assert any("does not start a text with [1]" in note for note in noted.notes)
    assert any("chat template" in note for note in noted.notes)
    fatal = compare(given, found, [1], LIMIT, portable=False)
    assert fatal.fault is not None
    assert "does not start a text with [1]" in fatal.fault and "chat template" in fatal.fault
