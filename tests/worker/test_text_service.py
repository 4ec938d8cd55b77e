"""Prompts that cannot fit are refused before they are tokenized: it takes seconds, in which all others wait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.real
def test_a_text_of_more_characters_than_the_longest_tokens_have_is_refused_where_the_context_is_known(
    demo_model: Path,
    run_worker: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "backends"))
    call, inputs = "pytorchfunctions:text_answers", {"model": demo_model}
    found = run_worker("pytorch", call, {"context": 100, "beyond": [0, 1]}, inputs, tmp_path / "out")
    prompt, conversation, *beyond = found["answers"]
    assert found["longest"] > 8 and prompt > 1 and conversation >= 1
    size = 100 * found["longest"] + 1
    for told in beyond:
        assert f"has {size} characters; at most 100 tokens fit" in told and str(found["longest"]) in told
    free = run_worker("pytorch", call, {"context": None, "beyond": [1]}, inputs, tmp_path / "free")
    assert all(isinstance(one, int) for one in free["answers"])
