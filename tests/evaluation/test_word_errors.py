"""The word error rate of generated texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from edgehone.evaluation.word_errors import distance, rate, words

TEXTS = some.lists(some.sampled_from("abc"), max_size=8)


def test_punctuation_and_capitals_do_not_count() -> None:
    assert words("One, two -  THREE. don't") == ["one", "two", "three", "don't"]


@pytest.mark.parametrize(
    ("one", "other", "errors"),
    [
        ("", "", 0),
        ("a b c", "a b c", 0),
        ("a b", "a b c", 1),
        ("a x c", "a b c", 1),
        ("x y", "a b c", 3),
        ("", "a b", 2),
    ],
)
def test_the_least_number_of_changes(one: str, other: str, errors: int) -> None:
    assert distance(one.split(), other.split()) == errors


@given(TEXTS, TEXTS, TEXTS)
def test_it_is_a_distance(one: list[str], two: list[str], three: list[str]) -> None:
    assert (distance(one, two) == 0) == (one == two)
    assert distance(one, two) == distance(two, one)
    assert distance(one, three) <= distance(one, two) + distance(two, three)
    assert abs(len(one) - len(two)) <= distance(one, two) <= max(len(one), len(two))


def test_the_rate_is_a_share_of_all_words_with_an_interval() -> None:
    truths = ["a b c d", "e f", "g h i j"] * 4
    found = rate(["a b c x", "e f", "g h i j"] * 4, truths)
    assert found.value == pytest.approx(4 / 40)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < 0.1 < found.high < 0.3
    assert found.n == 12


def test_no_error_among_few_texts_is_not_certain() -> None:
    few, many = rate(["a"] * 8, ["a"] * 8), rate(["a"] * 800, ["a"] * 800)
    assert few.value == many.value == 0
    assert few.high is not None
    assert many.high is not None
    assert few.high > 0.3
    assert many.high < 0.01


def test_more_errors_than_words_are_more_than_all() -> None:
    assert rate(["a b c d"], ["x"]).value == 4.0


def test_truths_without_words_give_no_rate() -> None:
    assert rate(["a", "b"], ["", "…"]).value is None
