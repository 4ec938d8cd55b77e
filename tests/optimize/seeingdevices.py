"""What made-up runtimes see, asked in real workers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.visible_devices import AbsentDevice, RuntimeDevice, VisibleDevices


def devices(job: WorkerJob) -> dict[str, Any]:
    """A GPU and no NPU; a line in the file SEEING for each time that it is asked."""
    with Path(os.environ["SEEING"]).open("a") as file:
        file.write("asked\n")
    absent = (
        AbsentDevice("NPU", "npu", "Intel", "no driver"),
        AbsentDevice("Vulkan", "gpu", None, "another build"),
    )
    return VisibleDevices(
        (RuntimeDevice("GPU.0", "gpu", "Arc", {"memory_bytes": 1 << 30}),), absent
    ).to_json()
