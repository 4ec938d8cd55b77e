from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgehone.device.cpuinfo import CpuInfo, parse_cpuinfo


def x86(processor: int, core: int, flags: str) -> str:
    return (
        f"processor\t: {processor}\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) Ultra 7\n"
        f"cpu MHz\t\t: 2100.{processor}\nphysical id\t: 0\ncore id\t\t: {core}\nflags\t\t: {flags}\n"
    )


RASPBERRY_PI_5 = (
    "".join(
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd aes asimdhp cpuid asimddp\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\n\n"
        for number in range(4)
    )
    + "Revision\t: d04170\nSerial\t\t: 0\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
)
RASPBERRY_PI_2 = (
    "processor\t: 0\nmodel name\t: ARMv7 Processor rev 5 (v7l)\nFeatures\t: half thumb neon vfpv4\n"
    "CPU implementer\t: 0x41\nCPU part\t: 0xc07\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 2 Model B\n"
)
BIG_LITTLE = "\n\n".join(
    f"processor : {number}\nFeatures : asimd i8mm sve bf16\nCPU implementer : 0x41\nCPU part : {part}"
    for number, part in enumerate(["0xd46", "0xd46", "0xd4d", "0x123"])
)


def test_x86() -> None:
    flags = "fpu avx2 avx512f avx512_vnni avx_vnni amx_int8 amx_tile hypervisor"
    info = parse_cpuinfo("\n".join(x86(number, number // 2, flags) for number in range(4)))
    assert info.model == "Intel(R) Core(TM) Ultra 7"
    assert info.vendor == "GenuineIntel"
    assert info.simd == ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_tile", "amx_int8")
    assert (info.physical_cores, info.logical_cores, info.hypervisor) == (2, 4, True)
    assert info.mhz == (2100.0, 2100.1, 2100.2, 2100.3)


def test_an_x86_without_any_of_the_sets() -> None:
    info = parse_cpuinfo(x86(0, 0, "fpu sse2"))
    assert info.simd == () and info.hypervisor is False


def test_raspberry_pi_5() -> None:
    info = parse_cpuinfo(RASPBERRY_PI_5)
    assert (info.model, info.vendor) == ("Cortex-A76", "ARM")
    assert info.simd == ("neon", "fp16", "dotprod")
    assert info.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert (info.logical_cores, info.physical_cores, info.hypervisor) == (4, None, None)


def test_a_32_bit_raspberry_pi() -> None:
    info = parse_cpuinfo(RASPBERRY_PI_2)
    assert (info.model, info.simd, info.logical_cores) == ("Cortex-A7", ("neon",), 1)


def test_kinds_of_cores_are_listed_and_unknown_ones_by_number() -> None:
    info = parse_cpuinfo(BIG_LITTLE)
    assert info.model == "Cortex-A510 + Cortex-A715 + part 0x41:0x123"
    assert info.simd == ("neon", "i8mm", "bf16", "sve")


def test_an_empty_cpuinfo_has_no_facts() -> None:
    assert parse_cpuinfo("") == CpuInfo()
    assert parse_cpuinfo("processor\t: 0\nisa\t\t: rv64imafdc\n") == CpuInfo(logical_cores=1)


FIELDS = st.sampled_from(
    ["processor", "flags", "Features", "CPU part", "CPU implementer", "cpu MHz", "core id", ""]
)
LINES = st.tuples(FIELDS, st.sampled_from([": ", ":", "", "\t: "]), st.text(max_size=6) | st.just("0"))


@given(st.lists(LINES | st.just(("", "", ""))))
def test_any_text_is_read(lines: list[tuple[str, str, str]]) -> None:
    parse_cpuinfo("\n".join("".join(line) for line in lines))
