"""The execution providers that ONNX Runtime has here, each tried, and why it has not the others (worker side)."""

from __future__ import annotations

import os
import platform
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices
from edgehone.core.errors import InputError

CPU = "CPUExecutionProvider"
# Read in workers, so part of the key of their jobs (edgehone.execution.source_digest).
WORKER_DATA_FILES = ("providers.toml",)


def devices(job: WorkerJob) -> dict[str, Any]:
    """The CPU, and every provider that starts."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before it is loaded: afterwards is too late
    import onnxruntime

    available = onnxruntime.get_available_providers()
    found = [RuntimeDevice("CPU", "cpu", platform.processor() or None)]
    absent = []
    for one in providers():
        reason = why_not(one, available, platform.system()) or _trial(one["name"])
        if reason is None:
            found.append(RuntimeDevice(one["id"], one["kind"], one["name"]))
        else:
            absent.append(AbsentDevice(one["id"], one["kind"], one.get("vendor"), reason))
    return VisibleDevices(tuple(found), tuple(absent)).to_json()


def providers() -> list[dict[str, Any]]:
    """The table's entries."""
    table = Path(__file__).with_name("providers.toml").read_text("utf-8")
    entries: list[dict[str, Any]] = tomllib.loads(table)["provider"]
    return entries


def named(device: str) -> list[str]:
    """The providers of a session on a device, by ONNX Runtime's names: the CPU takes what the device does not.

    Raises InputError for a device that the table does not have.
    """
    if device == "CPU":
        return [CPU]
    known = {one["id"]: one["name"] for one in providers()}
    if device not in known:
        raise InputError(
            f"no execution provider is called {device!r}", hint=f"one of CPU, {', '.join(known)}"
        )
    return [known[device], CPU]


def why_not(entry: Mapping[str, Any], available: list[str], system: str) -> str | None:
    """Why this build cannot have the provider; None where it has."""
    if entry["name"] in available:
        return None
    if entry.get("system", system) != system:
        return f"it exists on {_SYSTEMS.get(entry['system'], entry['system'])} only"
    return f"this build of onnxruntime lacks it: it takes {entry['package']}"


_SYSTEMS = {"Darwin": "macOS"}


def _trial(name: str) -> str | None:
    """Why a provider that the build has does not start: asked of a graph of one operator. None where it does."""
    import onnxruntime
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "trial", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[name])
    except Exception as error:  # noqa: BLE001 - each provider has errors of its own
        return f"it does not start: {str(error).strip().splitlines()[0]}"
    return None if name in session.get_providers() else "it does not start, and does not say why"
