"""Texts that an encoder-decoder generates, with parts that compute by a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession
from edgehone.core.errors import JobError
from edgehone.model.encoder_decoder import IDS, MASK, Decoding
from edgehone.worker.decode import greedy, with_texts

VOCABULARY, END, START, ENGLISH, GERMAN, TASK = 16, 0, 1, 2, 3, 4
DECODING = Decoding((START,), (END,), 12)


class Counting:
    """Parts whose likeliest next id is the last one plus `source`, and END from 15 on; the second likeliest is 5."""

    def __init__(self) -> None:
        self.source, self.fed, self.closed = np.zeros(0), list[list[int]](), False

    def begin(self, source: Any) -> None:
        self.source, self.fed = np.asarray(source["x"])[:, 0], []

    def step(self, ids: Any) -> Any:
        self.fed.append(ids[0].tolist())
        logits = np.zeros((*ids.shape, VOCABULARY), np.float32)
        logits[..., 5] = 0.5
        for row, column in np.ndindex(*ids.shape):
            following = int(ids[row, column] + self.source[row])
            logits[row, column, following if following < VOCABULARY else END] = 1
        return logits

    def close(self) -> None:
        self.closed = True


def x(*steps: int) -> dict[str, Any]:
    return {"x": np.array([[one, 0] for one in steps])}


def test_the_likeliest_id_follows_until_the_end() -> None:
    seen: list[int] = []
    parts = Counting()
    begun, generated = greedy(parts, x(4), DECODING, on_token=seen.append)
    assert (begun, generated) == ([1], [5, 9, 13, END])
    assert seen == generated
    assert parts.fed == [[1], [5], [9], [13]]


def test_a_text_has_a_longest_length_and_a_limit() -> None:
    assert greedy(Counting(), x(1), Decoding((START,), (END,), 6))[1] == [2, 3, 4, 5, 6]
    assert greedy(Counting(), x(1), DECODING, 3)[1] == [2, 3, 4]
    assert greedy(Counting(), x(1), DECODING, 99)[1][-1] == 12


def test_the_likeliest_language_and_the_task_follow_the_first_id() -> None:
    parts = Counting()
    spoken = Decoding((START,), (END,), 12, (ENGLISH, GERMAN), (TASK,))
    begun, generated = greedy(parts, x(2), spoken)
    assert begun == [START, GERMAN, TASK]
    assert parts.fed[:3] == [[START], [GERMAN], [TASK]]
    assert generated[0] == 6


def test_suppressed_ids_are_never_generated_and_some_not_first() -> None:
    assert greedy(Counting(), x(4), Decoding((START,), (END,), 12, suppressed=(9, 99)))[1][:3] == [5, 5, 5]
    assert greedy(Counting(), x(15), Decoding((START,), (END,), 12, first_suppressed=(END,)))[1] == [5, END]


def test_texts_become_the_decoders_inputs_without_their_last_id() -> None:
    arrays = with_texts(EncoderDecoderSession(Counting()), x(4, 7, 14), DECODING)
    assert arrays[IDS].tolist() == [[1, 5, 9, 13], [1, 8, 15, 0], [1, 15, 0, 0]]
    assert arrays[MASK].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]]


def test_the_decoders_inputs_never_have_the_length_of_a_text_that_is_read() -> None:
    source = {"x": np.array([[4, 0, 0, 0]])}  # as long as the text
    assert with_texts(EncoderDecoderSession(Counting()), source, DECODING)[IDS].shape == (1, 5)


def test_a_run_gives_the_logits_after_each_id_and_repeats_them_where_the_text_is_over() -> None:
    parts = Counting()
    session = EncoderDecoderSession(parts)
    arrays = with_texts(session, x(4, 7, 14), DECODING)
    logits = session.run(arrays)["logits"]
    assert logits.argmax(-1).tolist() == [[5, 9, 13, 0], [8, 15, 0, 8], [15, 0, 15, 0]]
    assert parts.fed == [[1], [5], [9], [13]]
    session.close()
    assert parts.closed


def test_without_ids_there_is_nothing_to_run() -> None:
    with pytest.raises(JobError, match="decoder_input_ids"):
        EncoderDecoderSession(Counting()).run(x(1))


def test_a_session_of_another_graph_generates_nothing() -> None:
    with pytest.raises(JobError, match="does not generate texts"):
        with_texts(object(), x(1), DECODING)
