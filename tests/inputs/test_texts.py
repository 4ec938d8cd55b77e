from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgehone.core.errors import TextError
from edgehone.inputs.texts import MIN_CHARACTERS, check_disjoint, read_task, read_text, shipped


def prose(seed: int, words: int = 3000) -> str:
    """Lines of twelve invented words."""
    dice = random.Random(seed)
    drawn = ["".join(dice.choices("aeinorst", k=dice.randint(2, 7))) for _ in range(words)]
    return "\n".join(" ".join(drawn[start : start + 12]) for start in range(0, words, 12))


def said(error: pytest.ExceptionInfo[TextError]) -> str:
    return f"{error.value.message} | {error.value.hint}"


def test_a_valid_text_is_read(tmp_path: Path) -> None:
    text = prose(1)
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_text(tmp_path / "t", "evaluation") == text


def test_a_missing_text(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="does not exist") as caught:
        read_text(tmp_path / "lost.txt", "evaluation")
    assert "lost.txt" in said(caught) and "--eval" in said(caught)


@pytest.mark.parametrize("content", ["", " \n" * 10_000])
def test_an_empty_text(tmp_path: Path, content: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(TextError, match="is empty") as caught:
        read_text(tmp_path / "t", "calibration")
    assert "--calibrate" in said(caught)


@pytest.mark.parametrize("purpose", ["evaluation", "calibration"])
def test_a_short_text_names_the_minimum(tmp_path: Path, purpose: str) -> None:
    least = MIN_CHARACTERS[purpose]
    (tmp_path / "t").write_text("é" * (least - 1))
    with pytest.raises(TextError, match=f"{least - 1:,} characters, at least {least:,}"):
        read_text(tmp_path / "t", purpose)  # type: ignore[arg-type]
    (tmp_path / "t").write_text("é" * least)
    assert len(read_text(tmp_path / "t", purpose)) == least  # type: ignore[arg-type]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_byte_that_is_not_utf_8_is_named(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "t").write_bytes(mark + b"caf\xe9 " * 9)
    with pytest.raises(TextError, match=f"byte 0xe9 at offset {3 + len(mark)} "):
        read_text(tmp_path / "t", "evaluation")


def test_a_folder_is_refused_as_a_text(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot be read"):
        read_text(tmp_path, "evaluation")


def test_unrelated_texts_are_disjoint() -> None:
    check_disjoint(prose(1), prose(2))


def test_the_shipped_texts_are_long_enough_and_disjoint() -> None:
    check_disjoint(
        read_text(shipped("evaluation"), "evaluation"), read_text(shipped("calibration"), "calibration")
    )


def test_equal_texts_in_other_lines_are_equal() -> None:
    with pytest.raises(TextError, match="are the same"):
        check_disjoint(prose(1), prose(1).replace("\n", "  \r\n"))


def test_a_long_line_in_common() -> None:
    line = prose(3, 60).replace("\n", " ")
    with pytest.raises(TextError, match="share the line"):
        check_disjoint(prose(1) + "\n" + line, prose(2) + "\n" + line + "\n")
    check_disjoint(prose(1) + "\n" + line[:199], prose(2) + "\n" + line[:199])


def test_common_passages_are_found_across_line_breaks() -> None:
    passage = prose(3, 120)
    with pytest.raises(TextError, match="runs of 50 words"):
        check_disjoint(prose(1) + "\n" + passage, "x " + passage.replace("\n", " \n ") + "\n" + prose(2))


def test_a_short_common_quotation_is_accepted() -> None:
    quotation = prose(3, 60)
    check_disjoint(prose(1) + "\n" + quotation, quotation + "\n" + prose(2))


def test_a_small_part_of_a_large_text() -> None:
    large = prose(1, 20_000)
    with pytest.raises(TextError, match="runs of 50 words"):
        check_disjoint(large, "\n".join(large.splitlines()[100:120]))


def task(folder: Path, *lines: str) -> Path:
    (folder / "task.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "task.jsonl"


GOOD = {"prompt": "2+2=", "choices": ["3", "4"], "answer": 1}


def test_a_task_by_index_or_by_choice(tmp_path: Path) -> None:
    named = {**GOOD, "answer": "4", "subject": "sums"}
    odd = {**GOOD, "prompt": "a\u2028b"}
    path = task(tmp_path, json.dumps(GOOD), "", json.dumps(named), json.dumps(odd, ensure_ascii=False))
    assert read_task(path) == [GOOD, GOOD, odd]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "line 2"),
        ("[" * 100_000, "line 2"),
        ("3", "expected an object"),
        (json.dumps({**GOOD, "prompt": ""}), "prompt is ''"),
        (json.dumps({**GOOD, "choices": "34"}), "not a list of texts"),
        (json.dumps({**GOOD, "choices": [3, 4]}), "not a list of texts"),
        (json.dumps({**GOOD, "choices": ["4"]}), "two or more"),
        (json.dumps({**GOOD, "choices": ["4", "4"]}), "two or more"),
        (json.dumps({**GOOD, "answer": 2}), "answer is '2'"),
        (json.dumps({**GOOD, "answer": -1}), "answer is '-1'"),
        (json.dumps({**GOOD, "answer": True}), "answer is 'True'"),
        (json.dumps({**GOOD, "answer": "5"}), "answer is '5'"),
        (json.dumps({"prompt": "x", "choices": ["a", "b"]}), "answer is 'None'"),
    ],
)
def test_a_bad_item_is_named_by_its_line(tmp_path: Path, line: str, what: str) -> None:
    with pytest.raises(TextError, match="line 2") as caught:
        read_task(task(tmp_path, json.dumps(GOOD), line))
    assert what in caught.value.message


def test_an_empty_task(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="is empty"):
        read_task(task(tmp_path, "", " "))


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.lists(st.text(max_size=2), max_size=3)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["prompt", "choices", "answer"]), VALUES))
def test_any_item_is_read_or_refused(tmp_path: Path, item: dict[str, object]) -> None:
    try:
        (read,) = read_task(task(tmp_path, json.dumps(item)))
        assert 0 <= read["answer"] < len(read["choices"])
    except TextError as error:
        assert "line 1" in error.message
