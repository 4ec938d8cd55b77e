"""Parse /proc/cpuinfo of x86 and ARM kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Instruction sets that matter for quantized inference: the kernel's flag -> edgehone's name.
X86_FLAGS: Mapping[str, str] = {
    "sse4_2": "sse4_2", "f16c": "f16c", "fma": "fma", "avx": "avx", "avx2": "avx2", "avx_vnni": "avx_vnni",
    "avx512f": "avx512f", "avx512bw": "avx512bw", "avx512_vnni": "avx512_vnni", "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16", "amx_tile": "amx_tile", "amx_int8": "amx_int8", "amx_bf16": "amx_bf16",
}  # fmt: skip
ARM_FLAGS: Mapping[str, str] = {
    "neon": "neon", "asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16",
    "sve": "sve", "sve2": "sve2", "sme": "sme",
}  # fmt: skip

# ARM: (CPU implementer, CPU part) -> name of the core. From the kernel's arch/arm64/include/asm/cputype.h.
ARM_VENDORS: Mapping[int, str] = {
    0x41: "ARM", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon", 0x4E: "NVIDIA",
    0x51: "Qualcomm", 0x53: "Samsung", 0x61: "Apple", 0x6D: "Microsoft", 0xC0: "Ampere",
}  # fmt: skip
ARM_CORES: Mapping[tuple[int, int], str] = {
    (0x41, 0xC07): "Cortex-A7", (0x41, 0xD03): "Cortex-A53", (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55", (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73", (0x41, 0xD0A): "Cortex-A75", (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1", (0x41, 0xD0D): "Cortex-A77", (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78", (0x41, 0xD42): "Cortex-A78AE", (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510", (0x41, 0xD47): "Cortex-A710", (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2", (0x41, 0xD4D): "Cortex-A715", (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2", (0x41, 0xD80): "Cortex-A520", (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4", (0x4E, 0x004): "Carmel", (0xC0, 0xAC3): "Ampere-1",
}  # fmt: skip


@dataclass(frozen=True)
class CpuInfo:
    """The contents of /proc/cpuinfo. None: not stated."""

    model: str | None = None
    vendor: str | None = None
    simd: tuple[str, ...] | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    hypervisor: bool | None = None
    board: str | None = None
    mhz: tuple[float, ...] = ()


def parse_cpuinfo(text: str) -> CpuInfo:
    """Parse the text of /proc/cpuinfo. Never raises; an unknown layout yields None."""
    blocks = [_fields(block) for block in text.split("\n\n")]
    cores = [block for block in blocks if block.get("processor", "").isdigit()]
    if not cores:
        return CpuInfo()
    first = cores[0]
    logical = len(cores)
    board = next((block["Model"] for block in blocks if block.get("Model")), None)
    mhz = tuple(value for value in (_number(core.get("cpu MHz")) for core in cores) if value)
    if "flags" in first:
        flags = first["flags"].split()
        return CpuInfo(
            model=first.get("model name"),
            vendor=first.get("vendor_id"),
            simd=_known(flags, X86_FLAGS),
            physical_cores=_pairs(cores),
            logical_cores=logical,
            hypervisor="hypervisor" in flags,
            board=board,
            mhz=mhz,
        )
    vendor, model = _arm_names(cores)
    features = first.get("Features")
    return CpuInfo(
        model=model or first.get("model name"),
        vendor=vendor,
        simd=_known(features.split(), ARM_FLAGS) if features is not None else None,
        logical_cores=logical,
        board=board,
        mhz=mhz,
    )


def _fields(block: str) -> dict[str, str]:
    lines = (line.partition(":") for line in block.splitlines())
    return {name.strip(): value.strip() for name, colon, value in lines if colon}


def _known(flags: list[str], table: Mapping[str, str]) -> tuple[str, ...]:
    present = set(flags)
    return tuple(dict.fromkeys(name for flag, name in table.items() if flag in present))


def _pairs(cores: list[dict[str, str]]) -> int | None:
    """Count distinct (socket, core) pairs. None if the kernel does not number them."""
    pairs = {(core.get("physical id"), core.get("core id")) for core in cores}
    return None if any(part is None for pair in pairs for part in pair) else len(pairs)


def _arm_names(cores: list[dict[str, str]]) -> tuple[str | None, str | None]:
    """Return the vendor and the types of cores in order of appearance: "Cortex-A55 + Cortex-A76"."""
    vendors: dict[str, None] = {}
    models: dict[str, None] = {}
    for core in cores:
        implementer, part = _hexadecimal(core.get("CPU implementer")), _hexadecimal(core.get("CPU part"))
        if implementer is None or part is None:
            continue
        vendors[ARM_VENDORS.get(implementer, f"implementer 0x{implementer:02x}")] = None
        models[ARM_CORES.get((implementer, part), f"part 0x{implementer:02x}:0x{part:03x}")] = None
    return " + ".join(vendors) or None, " + ".join(models) or None


def _hexadecimal(text: str | None) -> int | None:
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
