"""Detect a Mac with sysctl."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping

from edgehone.device.facts import Device

# Name of an instruction set in sysctl -> edgehone's name. Intel Macs list theirs in machdep.cpu.*features.
ARM_FLAGS: Mapping[str, str] = {
    "hw.optional.neon": "neon",
    "hw.optional.AdvSIMD": "neon",
    "hw.optional.arm.FEAT_FP16": "fp16",
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
    "hw.optional.arm.FEAT_SME": "sme",
}
INTEL_FLAGS: Mapping[str, str] = {
    "SSE4.2": "sse4_2",
    "F16C": "f16c",
    "FMA": "fma",
    "AVX1.0": "avx",
    "AVX2": "avx2",
    "AVX512F": "avx512f",
    "AVX512BW": "avx512bw",
    "AVX512VNNI": "avx512_vnni",
}
_CACHES = {"L1d": "hw.l1dcachesize", "L1i": "hw.l1icachesize", "L2": "hw.l2cachesize", "L3": "hw.l3cachesize"}


def detect_darwin() -> Device:
    """Return this Mac. What sysctl does not state is None."""
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-a"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
        sysctl = parse_sysctl(done.stdout)
    except (OSError, subprocess.SubprocessError):
        sysctl = {}
    return describe(sysctl, platform.machine(), platform.mac_ver()[0], platform.release())


def parse_sysctl(text: str) -> dict[str, str]:
    """Parse `name: value` lines into a dict."""
    lines = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, colon, value in lines if colon}


def describe(sysctl: Mapping[str, str], architecture: str, version: str, kernel: str) -> Device:
    """Return the device described by the values of sysctl."""
    logical = _integer(sysctl, "hw.logicalcpu") or os.cpu_count()
    caches = {level: _integer(sysctl, name) for level, name in _CACHES.items()}
    hypervisor = sysctl.get("kern.hv_vmm_present")
    return Device(
        architecture=architecture or "unknown",
        os=f"macOS {version}".strip(),
        python=platform.python_version(),
        threads=logical or 1,
        cpu=sysctl.get("machdep.cpu.brand_string"),
        vendor=sysctl.get("machdep.cpu.vendor") or ("Apple" if architecture == "arm64" else None),
        board=sysctl.get("hw.model"),
        simd=_simd(sysctl),
        physical_cores=_integer(sysctl, "hw.physicalcpu"),
        logical_cores=logical,
        memory_bytes=_integer(sysctl, "hw.memsize"),
        caches={level: size for level, size in caches.items() if size},
        kernel=kernel or None,
        virtualised=None if hypervisor is None else hypervisor == "1",
        container=False,
    )


def _simd(sysctl: Mapping[str, str]) -> tuple[str, ...] | None:
    words = " ".join(sysctl.get(f"machdep.cpu.{name}", "") for name in ("features", "leaf7_features")).split()
    features = [name for flag, name in ARM_FLAGS.items() if sysctl.get(flag) == "1"]
    features += [name for flag, name in INTEL_FLAGS.items() if flag in words]
    return tuple(dict.fromkeys(features)) if sysctl else None


def _integer(sysctl: Mapping[str, str], name: str) -> int | None:
    value = sysctl.get(name, "")
    return int(value) if value.isdigit() else None
