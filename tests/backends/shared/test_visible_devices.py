"""Visible devices as JSON, and the table of ONNX Runtime's providers."""

from __future__ import annotations

import json

import pytest

from edgehone.backends.onnxruntime import devices
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices
from edgehone.core.errors import InputError
from edgehone.device.accelerators import VENDORS


def test_visible_devices_survive_json() -> None:
    seen = VisibleDevices(
        (RuntimeDevice("CPU", "cpu"), RuntimeDevice("GPU.0", "gpu", "Arc", {"capabilities": ["FP16"]})),
        (AbsentDevice("NPU", "npu", "Intel", "no driver"),),
    )
    assert VisibleDevices.from_json(json.loads(json.dumps(seen.to_json()))) == seen
    assert [one.id for one in seen.accelerators] == ["GPU.0"]


@pytest.mark.parametrize(
    "told", [{}, {"devices": [1], "absent": []}, {"devices": [{"id": "x"}], "absent": []}]
)
def test_other_json_raises(told: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError)):
        VisibleDevices.from_json(told)


def test_the_table_of_providers() -> None:
    for one in devices.providers():
        assert one["name"].endswith("ExecutionProvider") and one["kind"] in ("gpu", "npu")
        assert one.get("vendor") in (None, *VENDORS.values()) and one["package"]


def test_the_reason_for_a_missing_provider() -> None:
    by_id = {one["id"]: one for one in devices.providers()}
    reason = devices.absence_reason
    assert "onnxruntime-gpu" in (reason(by_id["CUDA"], ["CPUExecutionProvider"], "Linux") or "")
    assert reason(by_id["CUDA"], ["CUDAExecutionProvider"], "Linux") is None
    assert reason(by_id["CoreML"], [], "Linux") == "it exists on macOS only"


def test_the_last_provider_of_a_session_is_the_cpu() -> None:
    assert devices.session_providers("CUDA") == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert devices.session_providers("CPU") == ["CPUExecutionProvider"]
    with pytest.raises(InputError, match="there is no execution provider 'cuda'"):
        devices.session_providers("cuda")
