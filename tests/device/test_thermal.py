from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgehone.device.thermal import Trip, Zone, read_zones

ZONE = "sys/class/thermal/thermal_zone"


def test_zones_and_their_trip_points(tree: Callable[..., Path]) -> None:
    files = {
        f"{ZONE}10/type": "gpu\n",
        f"{ZONE}10/temp": "N/A\n",
        f"{ZONE}2/type": "cpu-thermal\n",
        f"{ZONE}2/temp": "48312\n",
        f"{ZONE}2/trip_point_0_temp": "85000\n",
        f"{ZONE}2/trip_point_0_type": "passive\n",
        f"{ZONE}2/trip_point_1_temp": "110000\n",
        f"{ZONE}2/trip_point_1_type": "critical\n",
        f"{ZONE}2/trip_point_2_temp": "-274000\n",  # switched off
        f"{ZONE}2/trip_point_2_type": "active\n",
        f"{ZONE}2/trip_point_3_temp": "90000\n",  # without a type
    }
    assert read_zones(tree(files) / "sys") == (
        Zone("thermal_zone2 cpu-thermal", 48.312, (Trip("passive", 85.0), Trip("critical", 110.0))),
        Zone("thermal_zone10 gpu", None),
    )


def test_an_implausible_temperature_is_ignored(tree: Callable[..., Path]) -> None:
    (zone,) = read_zones(tree({f"{ZONE}0/temp": "99999999"}) / "sys")
    assert zone == Zone("thermal_zone0", None)
    assert read_zones(Path("/no/such/sys")) == ()
