"""The windows that quality is scored on: their number and length, and models that attend to the last tokens only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgehone.core.errors import TextError
from edgehone.optimize.context import EffortSettings
from edgehone.optimize.evaluate.language import windows
from tests import parityrun

QUICK = EffortSettings(windows=24, window=256, rounds=3, seconds=0.1, budget=1.0, samples=4)


@pytest.mark.parametrize(
    ("context", "sliding", "ids", "found", "noted"),
    [
        (1024, None, 50_000, (24, 256), False),
        (1024, 80, 50_000, (24, 256), False),
        (1024, 300, 50_000, (13, 450), False),  # longer windows of as many tokens
        (1024, 80, 500, (4, 120), False),  # a short text
        (1024, 80, 300, (4, 64), True),  # too short for longer windows
        (4096, 2048, 50_000, (24, 256), True),  # they would cost too much
        (300, 256, 50_000, (24, 256), True),  # beyond the context
        (128, None, 50_000, (24, 128), False),
    ],
)
def test_windows_are_longer_than_a_sliding_one_or_a_note_says_so(
    context: int, sliding: int | None, ids: int, found: tuple[int, int], noted: bool
) -> None:
    shape, notes = windows(QUICK, context, sliding, ids, 1)
    assert (shape["windows"], shape["window"]) == found
    assert bool(notes) == noted
    if noted:
        assert f"the last {sliding} tokens, and the windows have {found[1]}" in notes[0]


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(TextError, match="too few for 4 windows"):
        windows(QUICK, 1024, None, 100, 1)


@pytest.mark.real
def test_a_runtime_that_ignores_a_sliding_window_is_found(demo_model: Path, tmp_path: Path) -> None:
    """The demo model as a Mistral that attends to 80 tokens, in windows of 64 (llama.cpp#3371)."""
    folder = tmp_path / "model"
    shutil.copytree(demo_model, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    changes = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 80}
    (folder / "config.json").write_text(json.dumps({**config, **changes}), "utf-8")
    ctx, original = parityrun.prepare(folder, tmp_path, window=64)
    assert original.reference.facts["window"] == 120
    assert not parityrun.conversion(parityrun.judge(ctx, original, "llamacpp")).passed
    assert not original.facts["notes"]
