"""The plan of a run: backends that cannot be measured on the target are tried only if they are named."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.device.facts import Device
from edgehone.optimize import setup
from edgehone.optimize.options import OptimizeOptions
from edgehone.plan.plan import Plan
from edgehone.plan.target import PredictionTarget

DEMO = Path(str(files("edgehone").joinpath("data/demo-model")))
LINUX = Device(architecture="x86_64", os="Debian GNU/Linux 12 (bookworm)", python="3.11", threads=2)
MAC = Device(architecture="arm64", os="macOS 15.1", python="3.11", threads=8)


def planned(machine: Device, named: list[str] | None = None, target: PredictionTarget | None = None) -> Plan:
    options = OptimizeOptions.of(DEMO, {"effort": "quick", "backends": named})
    none: Any = setup.requirements(options, {})
    return setup._plan(
        options,
        {},
        registry.load_all(named),
        target=target,
        row="cross_platform",
        required=none,
        machine=machine,
    )


def test_mlx_is_left_out_with_the_reason_where_it_cannot_be_measured() -> None:
    plan = planned(LINUX)
    assert "mlx" not in plan.backends and "llamacpp" in plan.backends
    assert "made for Apple silicon" in plan.refused["mlx"] and "--backends mlx" in plan.refused["mlx"]


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        pytest.param(MAC, None, id="on Apple silicon"),
        pytest.param(LINUX, ["llamacpp", "mlx"], id="named by the user"),
    ],
)
def test_mlx_is_planned_where_it_can_be_measured_or_is_asked_for(
    machine: Device, named: list[str] | None
) -> None:
    assert "mlx" in planned(machine, named).backends
