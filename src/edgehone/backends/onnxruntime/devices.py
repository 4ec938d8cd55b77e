"""ONNX Runtime's execution providers: which ones start, and why the others are missing (worker side)."""

from __future__ import annotations

import os
import platform
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices
from edgehone.core.errors import InputError

CPU = "CPUExecutionProvider"
# Read in workers, so part of the key of their jobs (edgehone.execution.source_digest).
WORKER_DATA_FILES = ("providers.toml",)


def devices(job: WorkerJob) -> dict[str, Any]:
    """List the CPU and every execution provider that starts, and the reasons for the others."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it is read on import
    import onnxruntime

    available = onnxruntime.get_available_providers()
    visible = [RuntimeDevice("CPU", "cpu", platform.processor() or None)]
    absent = []
    for one in providers():
        reason = absence_reason(one, available, platform.system()) or _start_error(one["name"])
        if reason is None:
            visible.append(RuntimeDevice(one["id"], one["kind"], one["name"]))
        else:
            absent.append(AbsentDevice(one["id"], one["kind"], one.get("vendor"), reason))
    return VisibleDevices(tuple(visible), tuple(absent)).to_json()


def providers() -> list[dict[str, Any]]:
    """Return the entries of providers.toml."""
    table = Path(__file__).with_name("providers.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(table)["provider"]
    return entries


def session_providers(device: str) -> list[str]:
    """Return the provider names for a session on a device; the CPU runs operators that the device does not support.

    Raises InputError for a device that is not in providers.toml.
    """
    if device == "CPU":
        return [CPU]
    known = {one["id"]: one["name"] for one in providers()}
    if device not in known:
        raise InputError(
            f"there is no execution provider {device!r}", hint=f"use one of CPU, {', '.join(known)}"
        )
    return [known[device], CPU]


def absence_reason(entry: Mapping[str, Any], available: list[str], system: str) -> str | None:
    """Return why this build does not have the provider, or None if it does."""
    if entry["name"] in available:
        return None
    if entry.get("system", system) != system:
        return f"it exists on {_SYSTEMS.get(entry['system'], entry['system'])} only"
    return f"this build of onnxruntime does not include it: install {entry['package']}"


_SYSTEMS = {"Darwin": "macOS"}


def _start_error(name: str) -> str | None:
    """Return why a provider of this build does not start, by opening a graph of one operator; None if it starts."""
    import onnxruntime
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "trial", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[name])
    except Exception as error:  # noqa: BLE001 - each provider raises its own exceptions
        return f"it does not start: {str(error).strip().splitlines()[0]}"
    return None if name in session.get_providers() else "it does not start, and reports no error"
