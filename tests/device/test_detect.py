from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from edgehone.device.cgroup import Limits
from edgehone.device.darwin import describe, parse_sysctl
from edgehone.device.detect import detect, detect_linux, parse_meminfo, read_caches, usable_threads
from edgehone.device.facts import Device

PI = {
    "proc/cpuinfo": "\n".join(
        f"processor : {number}\nFeatures : fp asimd asimddp\nCPU implementer : 0x41\nCPU part : 0xd0b\n"
        for number in range(2)
    ),
    "proc/meminfo": "MemTotal:   4131072 kB\nMemFree:  1 kB\nMemAvailable: 3000000 kB\nHugePages_Total:  0\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/self/cgroup": "0::/user.slice\n",
    "proc/sys/kernel/osrelease": "6.6.31-v8\n",
    "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/devices/system/cpu/cpu0/cache/index0/level": "1\n",
    "sys/devices/system/cpu/cpu0/cache/index0/type": "Data\n",
    "sys/devices/system/cpu/cpu0/cache/index0/size": "64K\n",
    "sys/devices/system/cpu/cpu0/cache/index2/level": "2\n",
    "sys/devices/system/cpu/cpu0/cache/index2/type": "Unified\n",
    "sys/devices/system/cpu/cpu0/cache/index2/size": "2M\n",
    "sys/devices/system/cpu/cpu0/cache/index3/level": "3\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu0/topology/core_id": "0\n",
    "sys/devices/system/cpu/cpu1/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu1/topology/core_id": "1\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_raspberry_pi(tmp_path: Path) -> None:
    device = detect_linux(tree(tmp_path, PI), affinity=2, architecture="aarch64")
    assert (device.cpu, device.board) == ("Cortex-A76", "Raspberry Pi 5 Model B Rev 1.0")
    assert device.simd == ("neon", "dotprod")
    assert (device.physical_cores, device.logical_cores, device.threads) == (2, 2, 2)
    assert (device.memory_bytes, device.memory_available_bytes) == (4131072 * 1024, 3000000 * 1024)
    assert device.memory_limit_bytes is None and device.usable_memory_bytes == device.memory_bytes
    assert device.caches == {"L1d": 65536, "L2": 2 << 20}
    assert (device.os, device.kernel) == ("Debian GNU/Linux 12 (bookworm)", "6.6.31-v8")
    assert (device.virtualised, device.container) == (False, False)


def test_limits_of_a_container(tmp_path: Path) -> None:
    files = {
        **PI,
        ".dockerenv": "",
        "sys/fs/cgroup/cpu.max": "150000 100000",
        "sys/fs/cgroup/memory.max": "1048576",
    }
    device = detect_linux(tree(tmp_path, files), affinity=2)
    assert (device.threads, device.container) == (1, True)
    assert device.memory_limit_bytes == device.usable_memory_bytes == 1048576


def test_a_limit_above_the_memory_is_ignored(tmp_path: Path) -> None:
    device = detect_linux(tree(tmp_path, {**PI, "sys/fs/cgroup/memory.max": str(2**50)}))
    assert device.memory_limit_bytes is None


@pytest.mark.parametrize("vendor", ["QEMU", "VMware, Inc.", "Amazon EC2"])
def test_a_virtual_board(tmp_path: Path, vendor: str) -> None:
    files = {"sys/class/dmi/id/sys_vendor": vendor}
    assert detect_linux(tree(tmp_path, files)).virtualised is True


def test_a_real_board(tmp_path: Path) -> None:
    assert detect_linux(tree(tmp_path, {"sys/class/dmi/id/sys_vendor": "ASUS"})).virtualised is False


def test_properties_are_unknown_without_proc_and_sys(tmp_path: Path) -> None:
    device = detect_linux(tmp_path)
    assert device.threads >= 1
    told = [device.cpu, device.simd, device.memory_bytes, device.usable_memory_bytes]
    assert [*told, device.virtualised, device.container] == [None] * 6
    assert device.caches == {}
    assert len(device.fingerprint) == 12


@pytest.mark.parametrize(
    ("affinity", "quota", "threads"), [(4, None, 4), (4, 2.9, 2), (4, 0.5, 1), (2, 8.0, 2), (1, 0.0, 1)]
)
def test_usable_threads(affinity: int, quota: float | None, threads: int) -> None:
    assert usable_threads(affinity, Limits(cpus=quota)) == threads


def test_meminfo_and_caches_without_content(tmp_path: Path) -> None:
    assert parse_meminfo("rubbish\nMemTotal: x kB\n") == {}
    assert read_caches(tmp_path) == {}


BASE = Device(
    architecture="x86_64", os="Linux", python="3.11", threads=4, cpu="A", simd=("avx2",), memory_bytes=8 << 30
)


@pytest.mark.parametrize(
    "change", [{"cpu": "B"}, {"simd": ()}, {"threads": 3}, {"memory_bytes": 9 << 30}, {"os": "macOS"}]
)
def test_the_fingerprint_follows_what_determines_speed(change: dict[str, object]) -> None:
    assert dataclasses.replace(BASE, **change).fingerprint != BASE.fingerprint  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"memory_bytes": (8 << 30) - 1}, {"memory_available_bytes": 5}, {"python": "3.12"}, {"kernel": "6"}],
)
def test_the_fingerprint_ignores_what_does_not_determine_speed(change: dict[str, object]) -> None:
    assert dataclasses.replace(BASE, **change).fingerprint == BASE.fingerprint  # type: ignore[arg-type]


def test_json() -> None:
    data = json.loads(json.dumps(BASE.to_json()))
    assert data["fingerprint"] == BASE.fingerprint
    assert data["simd"] == ["avx2"] and data["kernel"] is None


def test_this_machine() -> None:
    device = detect()
    assert device.threads >= 1 and device.fingerprint == detect().fingerprint
    if sys.platform.startswith("linux"):
        assert device.threads <= len(os.sched_getaffinity(0))
        assert device.memory_bytes and device.memory_bytes > 2**20


SYSCTL = """machdep.cpu.brand_string: Apple M2 Pro
hw.optional.neon: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.physicalcpu: 10
hw.logicalcpu: 10
hw.memsize: 17179869184
hw.l1dcachesize: 65536
hw.model: Mac14,9
kern.hv_vmm_present: 0
odd line
"""


def test_a_mac() -> None:
    device = describe(parse_sysctl(SYSCTL), "arm64", "15.1", "24.1.0")
    assert (device.cpu, device.vendor, device.board) == ("Apple M2 Pro", "Apple", "Mac14,9")
    assert device.simd == ("neon", "dotprod", "i8mm")
    assert (device.threads, device.memory_bytes, device.caches) == (10, 16 << 30, {"L1d": 65536})
    assert (device.os, device.virtualised) == ("macOS 15.1", False)


def test_an_intel_mac() -> None:
    told = {"machdep.cpu.features": "FPU SSE4.2 AVX1.0 FMA", "machdep.cpu.leaf7_features": "AVX2 BMI1"}
    assert describe(told, "x86_64", "13", "22").simd == ("sse4_2", "fma", "avx", "avx2")


def test_a_mac_whose_sysctl_fails() -> None:
    device = describe({}, "arm64", "15", "24")
    assert device.simd is None and device.memory_bytes is None and device.threads >= 1
