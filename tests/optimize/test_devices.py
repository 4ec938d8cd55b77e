"""The road to other devices, on the one there is: OpenVINO's HETERO and a device that was seen and is gone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.backends.openvino import backend
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.inference.run_bundle import infer
from edgehone.model.demo import demo_graph
from edgehone.model.inspect import inspect
from edgehone.optimize import setup
from tests.recipes import FEW_ROUNDS

DIGITS = demo_graph()
EVALUATION, CALIBRATION = (DIGITS.parent / f"{name}.npz" for name in ("evaluation", "calibration"))
ABLE = {"capabilities": ["FP32", "INT8"], "kv_cache": False}
SEEN: Mapping[str, VisibleDevices] = {
    "openvino": VisibleDevices(
        (
            RuntimeDevice("CPU", "cpu"),
            RuntimeDevice("HETERO:CPU", "gpu", "the CPU by another road", ABLE),
            RuntimeDevice("GPU.7", "gpu", "a card that is gone", ABLE),
        )
    ),
}


@pytest.mark.real
@pytest.mark.xdist_group("measures")
def test_recipes_on_seen_devices_are_proven_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def visible_devices(backends: Mapping[str, Any], *more: Any) -> dict[str, VisibleDevices]:
        return {name: SEEN[name] for name in backends}

    monkeypatch.setattr(setup, "visible_devices", visible_devices)
    few = [recipe for recipe in backend.recipes(inspect(DIGITS)) if recipe.effort == "quick"][:2]
    monkeypatch.setattr(backend, "recipes", lambda model: few)
    out = tmp_path / "bundle"
    # This device has no driver that tells its memory.
    gates = ("gain=off", "loss=off")
    (tmp_path / "few.toml").write_text(FEW_ROUNDS)
    given: dict[str, Any] = {"evaluation": EVALUATION, "calibration": CALIBRATION, "backends": ["openvino"]}
    given["config_file"] = tmp_path / "few.toml"
    decision = edgehone.optimize(DIGITS, effort="quick", gates=gates, out=out, **given)
    by_key = {candidate.key: candidate for candidate in decision.candidates}
    proven = {one.backend: one.passed for one in decision.conversions}
    assert proven["openvino"] and proven["openvino on HETERO:CPU"]
    assert proven["openvino on GPU.7"] is False

    there = by_key["openvino/fp32@HETERO:CPU"]
    assert there.status == "ok" and there.facts["operators"].keys() == {"CPU"}
    assert there.figure("workload_latency_ms").value and there.figure("accuracy").value
    assert "memory does not include HETERO:CPU" in (there.figure("peak_memory_bytes").reason or "")

    gone = [candidate for key, candidate in by_key.items() if key.endswith("@GPU.7")]
    assert gone and all(candidate.status in ("failed", "disqualified") for candidate in gone)
    assert by_key["openvino/fp32"].status == "ok"  # the others went on
    assert infer(edgehone.read(out), EVALUATION, tmp_path / "out.npz")["outputs"] == {"logits": [600, 10]}
