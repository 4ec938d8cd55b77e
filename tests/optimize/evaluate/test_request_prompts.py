"""The prompts of timed requests: of the right length, from all of the text, the same for all of a round."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as some

from edgehone.execution.job import Input
from edgehone.optimize.evaluate.request_prompts import (
    CONFIRMING,
    FACT,
    MOST,
    of_conversations,
    of_round,
    of_text,
)
from edgehone.optimize.evaluate.speed_rounds import measure_speed
from tests.optimize.evaluate.rounds import Run, result, round_facts, trial


@given(ids=some.integers(1, 400), bos=some.integers(0, 2), length=some.integers(3, 100))
def test_prompts_are_spread_over_the_text(ids: int, bos: int, length: int) -> None:
    text = list(range(ids))
    found = of_text(text, [-1] * bos, length)
    assert 1 <= len(found) <= MOST
    assert len({tuple(one) for one in found}) == len(found)
    assert found[0] == ([-1] * bos + text)[:length]
    for one in found:
        assert one[:bos] == [-1] * bos
        assert one[bos:] == text[one[bos] :][: length - bos]
    if ids >= length - bos:
        assert all(len(one) == length for one in found)
        assert found[-1][-1] == ids - 1


def conversations(folder: Path, *lengths: tuple[int, int]) -> Input:
    """Write conversations with prompts and answers of so many ids: 1000 and more, 2000 and more."""
    scored = [
        {"ids": [1000 + at] * prompt + [2000 + at] * answer, "start": prompt}
        for at, (prompt, answer) in enumerate(lengths)
    ]
    (folder / "conversations.json").write_text(json.dumps(scored))
    return Input(folder, "given")


def test_prompts_of_conversations_end_where_an_answer_begins(tmp_path: Path) -> None:
    found = of_conversations(conversations(tmp_path, (3, 2), (4, 1), (2, 1)), 6)
    assert found == [[1000, 2000, 2000][1:] + [1001] * 4, [2000, *[1001] * 4, 2001, *[1002] * 2][-6:]]


def test_short_conversations_give_no_prompts(tmp_path: Path) -> None:
    assert of_conversations(conversations(tmp_path, (3, 2), (2, 1)), 50) == []


def test_many_conversations_give_a_few_of_all(tmp_path: Path) -> None:
    found = of_conversations(conversations(tmp_path, *[(5, 1)] * 60), 5)
    assert len(found) == MOST and found[0] == [1000] * 5 and found[-1][-1] > 1040


def test_each_round_has_the_same_prompt_for_all_and_confirming_begins_with_others() -> None:
    run = Run(lambda name, args: result(round_facts(10.0, at=60.0 + args["round"], cold=args["cold"])))
    prompts = [[number] * 8 for number in range(4)]
    original = replace(run.original, facts={FACT: prompts})
    measure_speed(run.ctx, original, [original.baseline, trial("a"), trial("b")])
    asked: dict[int, list[list[int]]] = {job["args"]["round"]: [] for job in run.jobs}
    for job in run.jobs:
        asked[job["args"]["round"]].append(job["args"]["prompt"])
    assert asked == {number: [prompts[number]] * 3 for number in range(3)}
    assert [of_round(original, number)["prompt"][0] for number in range(5)] == [0, 1, 2, 3, 0]
    assert [of_round(original, number, CONFIRMING)["prompt"][0] for number in range(4)] == [2, 3, 0, 1]
    assert of_round(run.original, 3) == {}
