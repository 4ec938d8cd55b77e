from __future__ import annotations

import pytest

from edgehone.core.suggestions import suggest


def test_the_closest_name_comes_before_all_known_names() -> None:
    assert suggest("int9", ["int4", "int8", "fp16"]) == "did you mean 'int8'? known: int4, int8, fp16"


def test_a_word_that_resembles_nothing_gets_the_known_names() -> None:
    assert suggest("zzz", ["int4", "int8"]) == "known: int4, int8"


@pytest.mark.parametrize(
    ("word", "then", "hint"),
    [
        ("openvno", "edgehone backends", "did you mean 'openvino'? edgehone backends"),
        ("zzz", "edgehone backends", "edgehone backends"),
        ("openvno", "", "did you mean 'openvino'?"),
        ("zzz", "", ""),
    ],
)
def test_other_text_replaces_the_known_names(word: str, then: str, hint: str) -> None:
    assert suggest(word, ["openvino", "mlx"], then) == hint


def test_the_cutoff_decides_what_is_similar() -> None:
    assert suggest("raspberry", ["raspberry-pi-5-8gb"], "") == "did you mean 'raspberry-pi-5-8gb'?"
    assert suggest("raspberry", ["raspberry-pi-5-8gb"], "", cutoff=0.9) == ""


def test_words_that_are_not_text_and_an_iterator_of_names() -> None:
    assert suggest(3, iter(["a", "b"])) == "known: a, b"
