"""Answers are told in pieces: the first token and the end at once, what comes within some milliseconds together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.backends.serving import Produced, TokenLogprobs
from edgehone.worker.answer_text import INTERVAL, Answers, AnswerText, next_piece
from edgehone.worker.stable_text import StableText


class Clock:
    """A clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("edgehone.worker.answer_text.time.monotonic", lambda: self.now)


def decoding(stops: Sequence[str]) -> AnswerText:
    """A text whose ids are its bytes."""
    return AnswerText(
        StableText(lambda ids: bytes(ids).decode("utf-8", "replace")), stops, lambda token: bytes([token])
    )


def telling(stops: Sequence[str]) -> AnswerText:
    """A text that the engine tells."""
    return AnswerText(None, stops, lambda token: bytes([token]))


def of(text: str, number: int = 1, **more: object) -> Produced:
    """What an engine produces."""
    ids = list(text.encode())
    return Produced(number, ids, logprobs=[TokenLogprobs(one, -0.5) for one in ids], texts=[*text], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("text_of", [decoding, telling])
def test_tokens_that_come_together_are_told_together(
    text_of: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, answers = Clock(monkeypatch), Answers(text_of)  # type: ignore[arg-type]
    answers.open(1, [])
    answers.open(2, [])
    assert [one.text for one in answers.pieces([of("a")])] == ["a"]
    clock.now += INTERVAL / 2
    # A second request does not wait for the first one's interval.
    assert [(one.number, one.text) for one in answers.pieces([of("b"), of("x", 2)])] == [(2, "x")]
    clock.now += INTERVAL / 2
    assert [(one.text, one.tokens) for one in answers.pieces([of("c")])] == [("bc", 2)]
    clock.now += INTERVAL / 4
    assert answers.pieces([of("d")]) == []
    (last,) = answers.pieces([of("e", reason="length")])
    assert (last.text, last.tokens, last.reason, len(last.logprobs)) == ("de", 2, "length", 2)
    assert answers.pieces([of("f")]) == []  # it has ended


@pytest.mark.parametrize("answers", [1, 4, 8, 16, 64])
@given(told=st.floats(0, 1e6))
def test_times_of_pieces_are_the_same_for_all_answers(told: float, answers: int) -> None:
    interval = max(INTERVAL, min(0.065, answers / 200))
    due = next_piece(told, answers)
    assert 0.74 <= (due - told) / interval <= 1.76
    assert due == next_piece(due - 0.8 * interval, answers)


def test_many_answers_are_told_together_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(count: int, *, paced: bool) -> tuple[int, int]:
        """Return how many pieces and messages a second of tokens makes; one answer begins after the other."""
        clock, answers, pieces, messages = Clock(monkeypatch), Answers(decoding, paced=paced), 0, 0
        for step in range(1000):
            clock.now = step / 1000
            if step < count:
                answers.open(step, [])
            found = answers.pieces([of("a", number) for number in range(min(step + 1, count))])
            pieces, messages = pieces + len(found), messages + bool(found)
        return pieces, messages

    one, sixteen = steps(1, paced=False), steps(16, paced=False)
    assert 25 <= one[0] == one[1] <= 35  # 33 a second
    assert 230 <= sixteen[0] <= 290 and sixteen[1] <= 40
    # An engine with a pause of its own is not held up.
    assert steps(16, paced=True)[0] > 16 * 50


def test_ids_are_told_to_a_request_without_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, answers = Clock(monkeypatch), Answers(decoding)
    answers.open(1, None)
    assert [(one.text, one.ids) for one in answers.pieces([Produced(1, [5])])] == [("", [5])]
    assert answers.pieces([Produced(1, [6])]) == []
    clock.now += INTERVAL
    (one,) = answers.pieces([Produced(1, [7], "length")])
    assert (one.ids, one.tokens, one.reason) == ([6, 7], 2, "length")


def test_an_error_ends_an_answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    answers = Answers(decoding)
    answers.open(1, [])
    answers.pieces([of("a")])
    (one,) = answers.pieces([of("b"), Produced(1, [], "error", "it broke")])
    assert (one.reason, one.error) == ("error", "it broke")


def test_tokens_after_a_stop_string_do_not_count() -> None:
    piece = decoding(["stop"]).add([of("one stop and more", reason="length")])
    assert (piece.text, piece.tokens, piece.reason) == ("one ", len("one stop"), "stop")
    assert [one["token"] for one in piece.logprobs] == list("one ")
    told = telling(["stop"]).add([of("one st"), of("op"), of("and more", reason="length")])
    assert (told.text, told.tokens, told.reason) == ("one ", len("one stop"), "stop")


def test_a_forgotten_answer_is_told_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    answers = Answers(decoding)
    answers.open(1, [])
    answers.forget(1)
    assert answers.pieces([of("a")]) == []


def test_many_tokens_are_decoded_as_one_by_one() -> None:
    text = "Größe, 한국어 – and plain words. " * 40
    data = list(text.encode())
    for size in (1, 7, 16, 33, 500):
        stream = StableText(lambda ids: bytes(ids).decode("utf-8", "replace"))
        found = "".join(stream.add_all(data[at : at + size]) for at in range(0, len(data), size))
        assert found + stream.finish() == text
