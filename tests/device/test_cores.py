from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.device.cores import CoreKind, darwin_cores, parse_list, read_cores

CPU = "sys/devices/system/cpu"
Tree = Callable[..., Path]


def test_an_intel_hybrid(tree: Tree) -> None:
    files = {"sys/devices/cpu_core/cpus": "0-3\n", "sys/devices/cpu_atom/cpus": "4-11\n"}
    for cpu in range(12):  # one core is favoured: that is no kind of its own
        khz = 4_700_000 if cpu == 0 else 4_600_000 if cpu < 4 else 3_400_000
        files[f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq"] = f"{khz}\n"
    assert read_cores(tree(files), {}) == (
        CoreKind("performance", 4, 4700.0),
        CoreKind("efficiency", 8, 3400.0),
    )


def test_cores_are_grouped_by_capacity(tree: Tree) -> None:
    capacities = [448] * 4 + [871] * 3 + [1024]
    root = tree({f"{CPU}/cpu{cpu}/cpu_capacity": f"{one}\n" for cpu, one in enumerate(capacities)})
    found = read_cores(root, {})
    assert found is not None
    assert [(one.name, one.count, one.capacity) for one in found] == [
        ("performance", 1, 1024),
        ("middle", 3, 871),
        ("efficiency", 4, 448),
    ]


def test_two_kinds_by_frequency_alone(tree: Tree) -> None:
    mhz = [5100, 5000, 3500, 3500]
    root = tree({f"{CPU}/cpu{i}/cpufreq/cpuinfo_max_freq": f"{one}000" for i, one in enumerate(mhz)})
    assert read_cores(root, {}) == (CoreKind("performance", 2, 5100.0), CoreKind("efficiency", 2, 3500.0))


def test_cores_of_one_kind_and_unknown_kinds(tree: Tree) -> None:
    reasons: dict[str, str] = {}
    assert read_cores(
        tree({f"{CPU}/cpu0/cpu_capacity": "1024", f"{CPU}/cpu1/cpu_capacity": "1024"}), reasons
    ) == (CoreKind("alike", 2, None, 1024),)
    assert reasons == {}
    assert read_cores(tree({}) / "nothing", reasons) is None
    assert "cpu_capacity" in reasons["cores"]


def test_apple_silicon() -> None:
    told = {"hw.perflevel0.logicalcpu": "8", "hw.perflevel1.logicalcpu": "2"}
    assert darwin_cores(told, {}) == (CoreKind("performance", 8), CoreKind("efficiency", 2))
    reasons: dict[str, str] = {}
    assert darwin_cores({"hw.perflevel0.logicalcpu": "many"}, reasons) is None
    assert "perflevel" in reasons["cores"]


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("0-2,5", [0, 1, 2, 5]),
        ("7", [7]),
        ("", []),
        ("3-1", []),
        ("0-99999999999", []),
        ("a-b", []),
        ("-1", []),
    ],
)
def test_lists(said: str, numbers: list[int]) -> None:
    assert parse_list(said) == numbers


@given(st.text())
def test_any_text_is_a_list_or_empty(said: str) -> None:
    assert all(number >= 0 for number in parse_list(said))
