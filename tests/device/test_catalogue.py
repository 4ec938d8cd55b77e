"""The catalogue: the shipped devices are complete, and entries of users are checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import InputError
from edgehone.device import catalogue
from edgehone.device.facts import Device

OWN: dict[str, Any] = {
    "title": "Board of ours",
    "row": "arm_embedded",
    "architecture": "aarch64",
    "cpu": "4 × Cortex-A55",
    "threads": 4,
    "memory_gb": 2.0,
    "memory_mt_s": 3200,
    "memory_bits": 32,
}


def test_the_shipped_catalogue_covers_every_row_and_cites_sources() -> None:
    devices = catalogue.shipped()
    assert {one.row for one in devices.values()} == set(catalogue.ROWS)
    assert len(devices) >= 15
    for one in devices.values():
        assert one.sources, one.name
        assert one.bandwidth_gb_s or one.unknown["bandwidth"]
        assert one.memory_bytes or one.unknown["memory_gb"]
    assert devices["raspberry-pi-5"].bandwidth_gb_s == pytest.approx(17.07, abs=0.01)
    assert devices["iphone-15-pro"].size_budget_bytes == 50_000_000
    assert devices["raspberry-pi-5"].gflops == pytest.approx(153.6)
    for one in devices.values():
        figures = (one.gflops, one.gpu_gflops, one.last_cache_bytes)
        for name, value in zip(("compute", "gpu", "last_cache"), figures, strict=True):
            assert value or one.unknown[name], (one.name, name)


def test_the_shipped_catalogue_has_all_required_devices() -> None:
    told = " ".join(f"{one.title} {one.cpu}" for one in catalogue.shipped().values())
    for device in (
        "Raspberry Pi 4", "Raspberry Pi 5", "Jetson Orin Nano", "Core Ultra", "N100", "Ryzen", "Apple M1", "Apple M4",
        "iPhone 15", "iPhone 16", "Snapdragon 8 Gen 2", "Snapdragon 8 Gen 3", "Coral", "Cortex-A53", "no GPU",
        "NVIDIA L4",
    ):  # fmt: skip
        assert device in told
    budgets = {
        one.name: one.size_budget_bytes for one in catalogue.shipped().values() if one.size_budget_bytes
    }
    assert {size for name, size in budgets.items() if "iphone" in name} == {50_000_000}
    assert {size for name, size in budgets.items() if "android" in name} == {100_000_000}


def test_user_defined_devices_override_shipped_ones() -> None:
    config = {"devices": {"ours": OWN, "intel-n100": {**OWN, "title": "Another N100"}}}
    assert catalogue.find("ours", config).bandwidth_gb_s == 12.8
    assert catalogue.find("intel-n100", config).title == "Another N100"
    with pytest.raises(InputError, match="unknown device 'raspbery'") as caught:
        catalogue.find("raspbery")
    assert "did you mean 'raspberry-pi-" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_gb": "8 GB"}, "memory_gb is '8 GB'"),
        ({"memory_gb": -1}, "memory_gb is -1"),
        ({"memory_gb": float("nan")}, "memory_gb is nan"),
        ({"memory_gb": True}, "memory_gb is True"),
        ({"row": "arm"}, "row is 'arm'"),
        ({"architecture": "x64"}, "architecture is 'x64'"),
        ({"threads": 0}, "threads is 0"),
        ({"memry_gb": 8}, "unknown key 'memry_gb'"),
        ({"bandwidth_gb_s": 30.0}, "excludes memory_mt_s"),
        ({"memory_bits": None}, "require each other"),
        ({"title": ""}, "title is ''"),
        ({"simd": "neon"}, "simd is 'neon'"),
        ({"unknown": {"memory_gb": 3}}, "unknown is"),
        ({"cannot": ["openvino"]}, "cannot is"),
        ({"memory_gb": 8_000_000_000}, "memory_gb is 8e+09, which is not plausible"),
        ({"clock_ghz": 2400}, "clock_ghz is 2400"),
        ({"size_budget_mb": 50_000_000}, "size_budget_mb is 5e+07"),
        ({"memory_mt_s": 3.2e9}, "memory_mt_s is 3.2e+09"),
    ],
)
def test_invalid_entries_are_refused_with_their_key(change: dict[str, Any], said: str) -> None:
    table = {name: value for name, value in {**OWN, **change}.items() if value is not None}
    with pytest.raises(InputError) as caught:
        catalogue.read({"ours": table}, "own.toml")
    assert "own.toml: ours" in caught.value.message
    assert said in caught.value.message
    assert caught.value.hint


@given(
    st.dictionaries(
        st.sampled_from([*OWN, "simd", "other"]), st.none() | st.integers() | st.text() | st.floats()
    )
)
def test_any_table_is_a_device_or_a_clear_error(change: dict[str, Any]) -> None:
    try:
        found = catalogue.read({"ours": {**OWN, **change}}, "own.toml")["ours"]
    except InputError as error:
        assert error.hint
    else:
        assert found.threads >= 1
        assert found.row in catalogue.ROWS


def test_a_machine_has_its_row() -> None:
    here = Device("x86_64", "Linux", "3.11", 2, cpu="Intel(R) Xeon(R)", vendor="GenuineIntel")
    assert catalogue.platform_row(here) == "intel"
    assert catalogue.platform_row(replace(here, vendor="AuthenticAMD", cpu="AMD EPYC")) == "cross_platform"
    assert catalogue.platform_row(replace(here, architecture="aarch64")) == "arm_embedded"
    assert catalogue.platform_row(replace(here, architecture="arm64", os="macOS 15.1")) == "apple"
    assert catalogue.platform_row(catalogue.shipped()["coral-dev-board"]) == "edge_tpu"
