"""Control groups of version 1 and 2: what is read, what would be written, and what is not permitted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.operate.control_group import Group, NotPermitted, group_of, more, write_value

_CPU = Path("/sys/fs/cgroup/cpu")


def laid_out(root: Path, version: int, **files: str) -> tuple[Path, Path]:
    """Write a hierarchy with a group `served`, and the proc file of process 7 in it."""
    folder = root / "cgroup" / ("cpu/served" if version == 1 else "served")
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".", 1)).write_text(text + "\n")
    (root / "proc" / "7").mkdir(parents=True)
    line = "4:cpu:/served\n0::/\n" if version == 1 else "0::/served\n"
    (root / "proc" / "7" / "cgroup").write_text(line)
    return root / "cgroup", root / "proc"


def test_version_1(tmp_path: Path) -> None:
    mounts, proc = laid_out(
        tmp_path, 1, cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000", cpu__shares="1024",
        cpu__stat="nr_periods 10\nnr_throttled 9",
    )  # fmt: skip
    group = group_of(7, mounts, proc)
    assert group is not None and (group.version, group.cpus, group.weight) == (1, 0.5, 1024)
    assert more(group, "cpus", 2.0, 4) == ("cpu.cfs_quota_us", "50000", "100000")
    assert more(group, "weight", 4.0, 4) == ("cpu.shares", "1024", "4096")


def test_version_2(tmp_path: Path) -> None:
    mounts, proc = laid_out(
        tmp_path, 2, cpu__max="150000 100000", cpu__weight="100", cpu__stat="nr_periods 0"
    )
    group = group_of(7, mounts, proc)
    assert group is not None and (group.version, group.cpus, group.weight) == (2, 1.5, 100)
    assert more(group, "cpus", 2.0, 2) == ("cpu.max", "150000 100000", "200000 100000")
    assert more(Group(group.folder, 2, 2.0, 100), "cpus", 2.0, 2) == "the quota is already 2 processors"


def test_without_a_quota_or_a_group(tmp_path: Path) -> None:
    mounts, proc = laid_out(tmp_path, 2, cpu__max="max 100000", cpu__weight="100")
    group = group_of(7, mounts, proc)
    assert group is not None and group.cpus is None
    assert more(group, "cpus", 2.0, 2) == "the control group has no quota"
    (proc / "7" / "cgroup").write_text("4:cpu:/\n0::/\n")
    assert group_of(7, mounts, proc) is None and group_of(8, mounts, proc) is None


def test_a_value_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted, match="cannot be set to 5"):
        write_value(tmp_path / "gone", "cpu.max", "5")


@pytest.fixture
def squeezed() -> Iterator[Path]:
    """A real control group of version 1 with a fifth of a processor."""
    if not os.access(_CPU / "cgroup.procs", os.W_OK):
        pytest.skip("no control group of version 1 that this user may make")
    folder = _CPU / f"edgehone-test-{os.getpid()}"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text("20000")
    yield folder
    folder.rmdir()


def test_a_real_group_whose_quota_is_used_up(squeezed: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            (squeezed / "cgroup.procs").write_text(str(process.pid))
            group = group_of(process.pid)
            assert group is not None and group.cpus == 0.2 and (group.throttled_share or 0) > 0.5
            planned = more(group, "cpus", 2.0, 2)
            assert isinstance(planned, tuple) and planned[1:] == ("20000", "40000")
            write_value(squeezed, planned[0], planned[2])
            wider = group_of(process.pid)
            assert wider is not None and wider.cpus == 0.4
        finally:
            process.kill()
