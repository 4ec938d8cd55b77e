"""Memory of accelerators, from texts in the formats of the kernel's drivers and of nvidia-smi."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.device import accelerator_memory
from edgehone.device.accelerator_memory import Used, drm_bytes, of_process, parse_fdinfo, used

KIB, MIB = 1 << 10, 1 << 20
FILE = "pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t284\n"
# Of integrated graphics: everything is in system memory. What is purgeable or shared is part of what is resident.
I915 = FILE + (
    "drm-driver:\ti915\ndrm-client-id:\t39\ndrm-pdev:\t0000:00:02.0\n"
    "drm-total-system0:\t8044 KiB\ndrm-shared-system0:\t2048 KiB\ndrm-active-system0:\t0\n"
    "drm-resident-system0:\t6044 KiB\ndrm-purgeable-system0:\t1688 KiB\n"
    "drm-total-stolen-system0:\t0\ndrm-resident-stolen-system0:\t0\n"
    "drm-engine-render:\t16662373 ns\ndrm-engine-capacity-video:\t2\n"
)
# Keys of cycles have the same beginning as those of memory.
XE = FILE + (
    "drm-driver:\txe\ndrm-client-id:\t3\ndrm-pdev:\t0000:03:00.0\n"
    "drm-total-system:\t0\ndrm-resident-system:\t0\n"
    "drm-total-gtt:\t192 KiB\ndrm-resident-gtt:\t192 KiB\n"
    "drm-total-vram0:\t3 MiB\ndrm-shared-vram0:\t1 MiB\ndrm-active-vram0:\t0\ndrm-resident-vram0:\t2 MiB\n"
    "drm-cycles-rcs:\t28257900\ndrm-total-cycles-rcs:\t7655183225\n"
)
# Of both names of the same number one counts.
AMDGPU = FILE + (
    "drm-driver:\tamdgpu\ndrm-client-id:\t10\ndrm-pdev:\t0000:0a:00.0\npasid:\t32771\n"
    "drm-total-cpu:\t0\ndrm-resident-cpu:\t0\n"
    "drm-total-vram:\t1500 KiB\ndrm-shared-vram:\t0\ndrm-resident-vram:\t1412 KiB\n"
    "drm-memory-vram:\t1412 KiB\ndrm-memory-gtt: \t4096 KiB\ndrm-memory-cpu: \t0 KiB\n"
    "amd-memory-visible-vram:\t1412 KiB\namd-evicted-vram:\t0 KiB\namd-requested-vram:\t1412 KiB\n"
    "drm-engine-gfx:\t43520412 ns\n"
)
PANTHOR = FILE + (
    "drm-driver:\tpanthor\ndrm-client-id:\t5\ndrm-engine-panthor:\t111110952750 ns\n"
    "drm-total-memory:\t21000 KiB\ndrm-shared-memory:\t0\ndrm-resident-memory:\t20000 KiB\n"
)
# An NPU, by a driver that gives bytes without a unit and no resident share.
NPU = FILE + "drm-driver:\tintel_vpu\ndrm-client-id:\t7\ndrm-pdev:\t0000:00:0b.0\ndrm-total-memory:\t8192\n"
SILENT = FILE + "drm-driver:\tnvidia-drm\ndrm-client-id:\t2\ndrm-pdev:\t0000:01:00.0\n"


@pytest.mark.parametrize(
    ("content", "identity", "size"),
    [
        (I915, ("i915", "0000:00:02.0", "39"), 6044 * KIB),
        (XE, ("xe", "0000:03:00.0", "3"), 192 * KIB + 2 * MIB),
        (AMDGPU, ("amdgpu", "0000:0a:00.0", "10"), (1412 + 4096) * KIB),
        (PANTHOR, ("panthor", "", "5"), 20000 * KIB),
        (NPU, ("intel_vpu", "0000:00:0b.0", "7"), 8192),
    ],
    ids=["i915", "xe", "amdgpu", "panthor", "intel_vpu"],
)
def test_each_drivers_fdinfo(content: str, identity: tuple[str, ...], size: int) -> None:
    assert parse_fdinfo(content) == (identity, size)


@pytest.mark.parametrize(
    "content",
    ["", FILE, SILENT, "drm-total-memory:\t5\n", "\0\xff"],
    ids=["empty", "file", "nvidia", "half", "binary"],
)
def test_what_tells_no_memory(content: str) -> None:
    assert parse_fdinfo(content) is None


def process(root: Path, pid: int, *descriptors: str) -> Path:
    folder = root / "proc" / str(pid) / "fdinfo"
    folder.mkdir(parents=True)
    for number, content in enumerate(descriptors):
        (folder / str(number)).write_text(content)
    return root


def test_a_client_with_several_descriptors_counts_once(tmp_path: Path) -> None:
    other = I915.replace("drm-client-id:\t39", "drm-client-id:\t40")
    process(tmp_path, 7, FILE, I915, I915, other, XE, SILENT)
    assert drm_bytes(7, tmp_path / "proc") == 2 * 6044 * KIB + 192 * KIB + 2 * MIB
    unnamed = PANTHOR.replace("drm-client-id:\t5\n", "")
    process(tmp_path, 8, unnamed, unnamed)
    assert drm_bytes(8, tmp_path / "proc") == 2 * 20000 * KIB


def test_processes_without_an_accelerator_and_that_have_ended(tmp_path: Path) -> None:
    process(tmp_path, 7, FILE, SILENT)
    assert drm_bytes(7, tmp_path / "proc") is None
    assert drm_bytes(8, tmp_path / "proc") is None


def smi(used: str, processes: str = "") -> Callable[[str], list[str]]:
    """nvidia-smi that prints these texts."""
    return lambda query: (processes if query.startswith("--query-compute-apps") else used).splitlines()


def test_nvidia_smi_names_the_process(tmp_path: Path) -> None:
    listed = smi("1500\n300\n", "4242, 566\n77, 9000\n4242, 34\n")
    assert of_process(4242, Used(100 * MIB, None), listed, tmp_path) == {
        "bytes": 600 * MIB,
        "sources": ["nvidia-smi"],
    }


@pytest.mark.parametrize("processes", ["", "1, 700\n", "4242, [N/A]\n", "4242, [Insufficient Permissions]\n"])
def test_the_rise_counts_where_nvidia_smi_does_not_name_the_process(tmp_path: Path, processes: str) -> None:
    told = of_process(4242, Used(100 * MIB, None), smi("800\n", processes), tmp_path)
    assert told == {"bytes": 700 * MIB, "sources": ["rise of NVIDIA's memory"]}


def test_amds_memory_rises_where_the_kernel_has_no_fdinfo(tmp_path: Path) -> None:
    card = tmp_path / "sys/class/drm/card0/device/mem_info_vram_used"
    card.parent.mkdir(parents=True)
    card.write_text("1000000\n")
    before = used(smi(""), tmp_path)
    assert before == Used(None, 1000000)
    card.write_text("5000000\n")
    assert of_process(7, before, smi(""), tmp_path) == {"bytes": 4000000, "sources": ["rise of AMD's memory"]}
    process(tmp_path, 7, AMDGPU)
    assert of_process(7, before, smi(""), tmp_path) == {"bytes": 5508 * KIB, "sources": ["fdinfo"]}


@pytest.mark.parametrize("told", ["", "[N/A]\n", "800\n"])
def test_nothing_told_is_not_0(tmp_path: Path, told: str) -> None:
    assert of_process(7, Used(800 * MIB, None), smi(told), tmp_path) == {"bytes": None, "sources": []}


def test_nvidia_smi_is_run_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$2" = --format=csv,noheader,nounits ] || exit 2\necho 123\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert used(root=tmp_path).nvidia == 123 * MIB
    program.write_text(
        '#!/bin/sh\necho "NVIDIA-SMI has failed because it could not reach the driver"\nexit 9\n'
    )
    assert used(root=tmp_path).nvidia is None
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerator_memory.used(root=tmp_path) == Used(None, None)
