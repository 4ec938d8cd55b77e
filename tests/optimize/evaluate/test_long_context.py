"""The divergence by position, up to the workload's context."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgehone
from edgehone.optimize.evaluate.long_context import AT_END, by_position
from edgehone.worker.long_chats import PARTS
from tests.recipes import FEW_ROUNDS

TOML = """
[workloads.long]
task = "text-generation"
prompt_tokens = 16
generated_tokens = 8
context = {context}
batch = 1
concurrency = 1
weights = {{ speed = 1.0, quality = 8.0 }}
"""


def test_each_part_of_the_windows_has_its_mean(tmp_path: Path) -> None:
    window = np.repeat([0, 1, 2], 8)
    kl = np.tile([1.0, 1, 2, 2, 3, 3, 4, 4], 3) + window
    np.savez(tmp_path / "tokens.npz", window=window, position=np.tile(np.arange(8), 3), kl=kl)
    found = by_position(tmp_path / "tokens.npz", 8)
    assert [end for end, _ in found] == [2, 4, 6, 8]
    assert [one.value for _, one in found] == [2.0, 3.0, 4.0, 5.0]
    last = found[-1][1]
    assert last.n == 3
    assert last.low is not None
    assert last.low < 5 < (last.high or 0)


def test_a_part_that_one_window_reaches_has_a_reason(tmp_path: Path) -> None:
    """Answers stand at other positions in each chat."""
    window, position = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 5, 99, 1, 45, 26])
    np.savez(tmp_path / "long.npz", window=window, position=position, kl=np.arange(6.0))
    found = by_position(tmp_path / "long.npz", 100)
    assert [end for end, _ in found] == [25, 50, 75, 100]
    assert [one.value for _, one in found] == [pytest.approx(4 / 3), 4.5, None, None]
    assert [one.n for _, one in found[:2]] == [2, 2]
    assert "fewer than 2 windows have scored tokens from position 75 to 100" in str(found[3][1].reason)


@pytest.mark.parametrize(("context", "long"), [(256, True), (64, False)])
def test_a_long_workload_is_scored_in_its_whole_length(
    own_home: Path, null_model: Path, tmp_path: Path, context: int, long: bool
) -> None:
    config = tmp_path / "edgehone.toml"
    config.write_text(FEW_ROUNDS + "windows = 8\nwindow = 32\n" + TOML.format(context=context))
    decision = edgehone.optimize(
        null_model,
        workload="long",
        effort="quick",
        backends=["null"],
        config_file=config,
        out=tmp_path / "bundle",
    )
    chosen = decision.candidate("null/q8")
    assert (AT_END in chosen.figures) is long
    if long:
        end = chosen.figure(AT_END)
        assert end.unit == "nats"
        assert end.value is not None
        parts = edgehone.read(tmp_path / "bundle").manifest.facts["kl_by_position"]
        assert len(parts) == PARTS


TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


def test_conversations_are_joined_to_cover_the_context(
    own_home: Path, null_model: Path, tmp_path: Path
) -> None:
    context = 2304
    found, bundle = spoken(null_model, tmp_path, context, TEMPLATE)
    told = "4 chats of 2304 tokens, in which the conversations follow one another, with passages of the evaluation text"
    assert any(told in one for one in found.notes)
    end = found.candidate("null/q4").figure(AT_END)
    assert end.unit == "nats" and end.n == 4
    # The null model knows no positions, so its losses are alike at each.
    parts = found.candidate("null/q4").facts["kl_by_position"]
    assert [one["up_to"] for one in parts] == [(at + 1) * context // 4 for at in range(PARTS)]
    usual = found.candidate("null/q4").figure("kl_mean").value or 0
    assert all(0.2 * usual < one["value"] < 5 * usual for one in parts)
    chosen = edgehone.read(bundle)
    assert len(chosen.manifest.facts["kl_by_position"]) == PARTS
    assert (bundle / "evidence" / "null__q4" / "long.npz").exists()
    assert found.baseline.figure(AT_END).value == 0


def test_a_template_without_earlier_answers_leaves_the_figure_out_with_a_reason(
    own_home: Path, null_model: Path, tmp_path: Path
) -> None:
    found, _ = spoken(null_model, tmp_path, 512, "{{ messages[-1].content }}\nassistant: ")
    end = found.candidate("null/q8").figure(AT_END)
    assert end.value is None
    assert "does not write the assistant's earlier answers" in str(end.reason)
    assert "kl_by_position" not in found.candidate("null/q8").facts
    assert any("divergence by position up to 512 tokens is not known" in one for one in found.notes)


def spoken(model: Path, place: Path, context: int, template: str) -> tuple[edgehone.Decision, Path]:
    """Optimize with short conversations of a template."""
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    lines = [{"messages": [{"role": "user", "content": f"What is {at} and 2?"}]} for at in range(40)]
    (place / "chat.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (place / "edgehone.toml").write_text(
        FEW_ROUNDS + "windows = 32\nwindow = 32\n" + TOML.format(context=context)
    )
    found = edgehone.optimize(
        model,
        workload="long",
        effort="quick",
        backends=["null"],
        chat=str(place / "chat.jsonl"),
        gates=["accuracy_kept=off", "loss=off"],
        config_file=place / "edgehone.toml",
        out=place / "bundle",
    )
    return found, place / "bundle"
