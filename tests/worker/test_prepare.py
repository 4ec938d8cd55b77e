"""Preparing texts: the files that later jobs read, and where a task's context ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends.null.session import NullTokenizer
from edgehone.backends.null.table import BOS, VOCABULARY
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import ModelError, TextError
from edgehone.inputs.texts import shipped
from edgehone.model.digest import digest_file
from edgehone.worker import prepare
from edgehone.worker.tokenizer_sample import PLAIN, SPECIAL


class Pairs:
    """A tokenizer that merges two letters into one token, so that a prompt's end and a choice's start may merge."""

    bos: list[int] = []  # noqa: RUF012
    eos = [0]  # noqa: RUF012
    vocabulary = 1 << 16

    def tokenize(self, text: str) -> list[int]:
        return self.encode(text)[0]

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        raw = text.encode()
        pieces = [raw[start : start + 2] for start in range(0, len(raw), 2)]
        return [int.from_bytes(piece, "big") for piece in pieces], [len(piece) for piece in pieces]

    def save(self, folder: Path) -> None:
        (folder / "tokenizer_config.json").write_text("{}")


def ids(text: str) -> list[int]:
    return Pairs().encode(text)[0]


def job(tmp_path: Path, backend: str = "edgehone.backends.null.backend", **inputs: Path) -> WorkerJob:
    texts = {name: shipped(name) for name in ("evaluation", "calibration")}
    out = tmp_path / "out"
    out.mkdir()
    return WorkerJob(
        {"backend": backend},
        {"model": tmp_path, **texts, **inputs},
        out,
        None,
        1,
        lambda fraction, what: None,
    )


def read(job: WorkerJob, name: str) -> Any:
    return json.loads((job.out / name).read_text("utf-8"))


def test_texts_are_converted_to_ids(tmp_path: Path) -> None:
    work = job(tmp_path)
    facts = prepare.prepare(work)
    evaluation = shipped("evaluation").read_bytes()
    assert bytes(read(work, "evaluation.json")["ids"]) == evaluation
    assert sum(read(work, "evaluation.json")["bytes"]) == len(evaluation)
    assert bytes(read(work, "calibration/ids.json")) == shipped("calibration").read_bytes()
    assert read(work, "calibration/bos.json") == [BOS] == facts["bos"]
    assert (work.out / "calibration" / "calibration.txt").read_bytes() == shipped("calibration").read_bytes()
    kinds = {one["kind"]: one for one in read(work, "parity.json")}
    assert kinds["plain"] == {"kind": "plain", "text": PLAIN, "ids": [BOS, *PLAIN.encode()]}
    assert kinds["evaluation"]["text"] == shipped("evaluation").read_text("utf-8")
    assert "template" not in kinds and not facts["portable"]
    assert facts["vocabulary"] == VOCABULARY and facts["eos"] == []
    assert facts["tokens"]["evaluation"] == len(evaluation)
    assert facts["texts"] == {name: digest_file(shipped(name)) for name in ("evaluation", "calibration")}
    assert not (work.out / "task.json").exists()


def test_a_task_is_tokenized(tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text(json.dumps({"prompt": "ab", "choices": ["c", "de"], "answer": 1}))
    work = job(tmp_path, task=task)
    facts = prepare.prepare(work)
    assert read(work, "task.json") == [{"context": [97, 98], "choices": [[99], [100, 101]], "answer": 1}]
    assert facts["texts"]["task"] == digest_file(task)


def test_a_tokenizer_that_returns_no_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NullTokenizer, "encode", lambda self, text: ([], []))
    with pytest.raises(ModelError, match="no token"):
        prepare.prepare(job(tmp_path))


def test_the_context_is_the_prompt_if_no_token_spans_both() -> None:
    item = prepare.tokenize_item(Pairs(), {"prompt": "abcd", "choices": ["ef", "ghi"], "answer": 0})
    assert item == {"context": ids("abcd"), "choices": [ids("ef"), ids("ghi")], "answer": 0}


def test_a_token_that_spans_prompt_and_choice_is_scored_with_the_choice() -> None:
    item = prepare.tokenize_item(Pairs(), {"prompt": "abc", "choices": ["d", "e"], "answer": 1})
    assert item == {"context": ids("ab"), "choices": [ids("cd"), ids("ce")], "answer": 1}


def test_a_prefix_common_to_all_choices_is_scored_with_the_choices() -> None:
    item = prepare.tokenize_item(Pairs(), {"prompt": "ab", "choices": ["cdef", "cdgh"], "answer": 0})
    assert item["context"] == ids("ab")


def test_a_prompt_without_context_is_refused() -> None:
    with pytest.raises(TextError, match="'a' has no token"):
        prepare.tokenize_item(Pairs(), {"prompt": "a", "choices": ["b", "c"], "answer": 0})


def test_a_choice_without_a_token_is_refused() -> None:
    class DropsQuestionMarks(Pairs):
        def encode(self, text: str) -> tuple[list[int], list[int]]:
            return super().encode(text.replace("?", ""))

    with pytest.raises(TextError, match=r"'\?' adds no token"):
        prepare.tokenize_item(DropsQuestionMarks(), {"prompt": "ab", "choices": ["?", "cd"], "answer": 1})


def test_a_bos_is_sufficient_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pairs, "bos", [1])
    assert (
        prepare.tokenize_item(Pairs(), {"prompt": "a", "choices": ["b", "c"], "answer": 0})["context"] == []
    )


def test_the_sample_texts_cover_known_tokenizer_differences() -> None:
    parts = ("  ", "\t", "\n\n", "0", "é", "e\u0301", "😀", "中")
    assert all(part in PLAIN for part in parts)
    assert not any(token in PLAIN for token in ("<s>", "</s>", "<|", "[INST]"))
    assert all(any(part in text for text in SPECIAL) for part in ("</s> ", "<s>", "<|im_end|>\n"))


def test_the_chat_template_is_rendered_and_tokenized(tmp_path: Path) -> None:
    template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}"
    config = {"chat_template": template, "bos_token": {"content": "<s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    work = job(tmp_path)
    facts = prepare.prepare(work)
    (found,) = (one for one in read(work, "parity.json") if one["kind"] == "template")
    assert found["text"].startswith("<s>[user] What lives in the sea?\n[assistant] Fish")
    assert found["ids"] == [BOS, *found["text"].encode()]
    assert facts["notes"] == []


def test_a_chat_template_that_fails_is_a_note(tmp_path: Path) -> None:
    config = {"chat_template": "{{ raise_exception('no system role') }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    work = job(tmp_path)
    facts = prepare.prepare(work)
    assert facts["notes"] == ["the model's chat template cannot be rendered: no system role"]
    assert not any(one["kind"] == "template" for one in read(work, "parity.json"))
