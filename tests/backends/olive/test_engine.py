"""What ONNX Runtime GenAI's own configuration limits; a stand-in for the framework refuses as it does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.olive import engine
from edgehone.backends.serving import EngineRequest
from edgehone.core.errors import InputError

LIMIT = 64


class Framework:
    """Creates requests, except those of more tokens than the configuration states."""

    EngineEventFlags = SimpleNamespace(FAILED=1, TOKEN=2, TURN_FINISHED=4)
    FinishReason = SimpleNamespace(EOS=1)
    tokens = 0

    def Engine(self, model: object) -> Framework:
        return self

    def RequestOptions(self) -> Framework:
        return self

    def create_event_buffer(self, count: int) -> list[object]:
        return []

    def set_max_session_tokens(self, count: int) -> None:
        self.tokens = count

    def create_request(self, options: object) -> Any:
        if self.tokens > LIMIT:
            raise RuntimeError(f"max_session_tokens ({self.tokens}) must be no greater than {LIMIT}")
        return SimpleNamespace(begin_turn=lambda ids, turn: None, close=lambda: None)


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "onnxruntime_genai", Framework())
    monkeypatch.setattr(engine, "open_model", lambda *words: object())
    monkeypatch.setattr(engine, "_turn", lambda made, request: None)
    config = {"model": {"vocab_size": 32}, "search": {"max_length": LIMIT}}
    (tmp_path / "genai_config.json").write_text(json.dumps(config))
    return tmp_path


def asked(count: int) -> EngineRequest:
    return EngineRequest(1, [1, 2, 3], count, frozenset(), {}, None)


@pytest.mark.parametrize(("context", "expected"), [(2048, LIMIT), (16, 16)])
def test_the_lower_limit_counts(artifact: Path, context: int, expected: int) -> None:
    made = engine.OliveEngine(artifact, {}, 1, 4, context)
    assert made.context == expected and made.cache == 4 * expected


def test_a_request_that_the_framework_refuses_is_the_clients_fault(artifact: Path) -> None:
    made = engine.OliveEngine(artifact, {}, 1, 4, LIMIT)
    made.add(asked(LIMIT - 3))
    with pytest.raises(InputError, match=f"no greater than {LIMIT}"):
        made.add(asked(LIMIT))
    assert made.busy  # with the first one


def test_a_configuration_without_a_limit(artifact: Path) -> None:
    (artifact / "genai_config.json").write_text(json.dumps({"model": {"vocab_size": 32}}))
    assert engine.OliveEngine(artifact, {}, 1, 4, 2048).context == 2048


def special(*ids: int, others: tuple[int, ...] = ()) -> str:
    tokens = [{"id": at, "content": f"<{at}>", "special": at in ids} for at in (*ids, *others)]
    return json.dumps({"added_tokens": tokens})


@pytest.mark.parametrize(
    ("tokenizer", "ends", "expected"),
    [
        (special(0, 1, 2), 2, 1),
        (special(0, 1, 2), [1, 2], 0),
        (special(2), 2, None),
        (special(0, 40), 2, 0),  # 40 is outside the vocabulary
        (special(0, 2, others=(9,)), 2, 0),
        (special(0, 1), None, 1),
        ("{", 2, None),
        ("[]", 2, None),
        ('{"added_tokens": null}', 2, None),
        (None, 2, None),
    ],
)
def test_schemas_need_a_special_token_that_ends_no_text(
    artifact: Path, tokenizer: str | None, ends: object, expected: int | None
) -> None:
    """A token that is a part of texts, and stands in for the end, would end a text that is not complete."""
    config = {"model": {"vocab_size": 32, "eos_token_id": ends}}
    (artifact / "genai_config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        (artifact / "tokenizer.json").write_text(tokenizer)
    made = engine.OliveEngine(artifact, {}, 1, 4, LIMIT)
    problem = made.constrain([])
    assert (problem is None) == (expected is not None) == ("plain_json_schema" in made.options)
    assert engine._other_special(artifact, config["model"]) == expected
