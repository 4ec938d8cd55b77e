"""A build is held to the name of its recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends.base import Recipe, Step
from edgehone.core.errors import NothingToGain
from edgehone.optimize import build


def built(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, **facts: Any) -> Any:
    """Build a recipe whose step returns these facts."""
    backend = SimpleNamespace(NAME="any", steps=lambda recipe: Step("any:step"))
    result = SimpleNamespace(facts=facts, out=folder / "out", folder=folder)
    ctx: Any = SimpleNamespace(
        reference_backend=SimpleNamespace(NAME="original"),
        backends={"any": backend},
        source=None,
        datasets={},
    )
    monkeypatch.setattr(build, "_run_step", lambda *given: result)
    return build.build(ctx, Recipe("any", name))


@pytest.mark.parametrize(
    ("name", "share"), [("int8", 0.4), ("int8", 1.0), ("fp16", 0.0), ("fp32_fused", 0.0), ("int8", None)]
)
def test_a_build_that_is_what_its_name_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, share: float | None
) -> None:
    facts = {} if share is None else {"quantized_share": share}
    assert built(monkeypatch, tmp_path, name, **facts).facts == facts


@pytest.mark.parametrize("name", ["int8_static", "q4_g64", "Q8_0", "mix-4.8"])
def test_a_build_in_which_no_weight_is_quantized_gains_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    with pytest.raises(NothingToGain, match=r"no weight was quantized: all stay in floats \(w, v\)"):
        built(monkeypatch, tmp_path, name, quantized_share=0.0, unquantized=["w", "v"])
