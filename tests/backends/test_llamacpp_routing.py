"""What llama.cpp chooses in a mixture of experts, against what transformers chooses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.errors import EdgehoneError
from edgehone.measure import routing

RunWorker = Callable[..., dict[str, Any]]
LLAMACPP = "edgehone.backends.llamacpp"
ROUTING = "edgehone.measure.routing:routing"


@pytest.mark.real
def test_a_mixture_goes_to_the_same_experts_and_with_fewer_bits_to_others(
    run_worker: RunWorker,
    tiny_families: Callable[[str], Path],
    demo_model: Path,
    tmp_path: Path,
) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    ids = [(7 * i * i + 3) % 2000 + 10 for i in range(400)]
    (prepared / "evaluation.json").write_text(json.dumps({"ids": ids, "bytes": [1] * len(ids)}))
    reference = {"bos": [1], "windows": 4, "window": 64, "start": 0}
    (prepared / "reference.json").write_text(json.dumps(reference))

    def note(backend: str, artifact: Path, **settings: str) -> Path:
        args = {"backend": f"edgehone.backends.{backend}", "settings": settings}
        inputs = {"artifact": artifact, "prepared": prepared, "reference": prepared}
        out = tmp_path / f"{backend} {artifact.name}"
        facts = run_worker(backend, ROUTING, args, inputs, out)
        assert facts == {"blocks": [0, 1, 2, 3], "tokens": 256}
        return out

    model, exact, small = tiny_families("mixtral"), tmp_path / "f16", tmp_path / "q4"
    facts = run_worker("llamacpp", f"{LLAMACPP}:convert", {}, {"model": model}, exact)
    # The routers stay as they are, whatever becomes of the rest.
    assert facts["experts"] == {"router": {"F32": 4}, "experts": {"F16": 12}}
    inputs = {"converted": exact}
    facts = run_worker("llamacpp", f"{LLAMACPP}:quantize", {"type": "Q4_0"}, inputs, small)
    assert facts["experts"]["router"] == {"F32": 4}
    assert "Q4_0" in facts["experts"]["experts"]

    wanted = note("pytorch", model, dtype="float32")
    same, _ = routing.agreement(wanted, note("llamacpp", exact))
    fewer, _ = routing.agreement(wanted, note("llamacpp", small))
    assert same.value is not None and same.value > 0.98
    assert fewer.value is not None and 0.3 < fewer.value < same.value

    with pytest.raises(EdgehoneError, match="chose no experts"):
        dense = tmp_path / "dense"
        run_worker("llamacpp", f"{LLAMACPP}:convert", {}, {"model": demo_model}, dense)
        note("llamacpp", dense)
