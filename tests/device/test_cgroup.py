from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.device.cgroup import Limits, read_available, read_limits


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_version_2_takes_the_tightest_of_all_levels(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/job\n",
            "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/user.slice/memory.max": "max\n",
            "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000\n",
            "sys/fs/cgroup/user.slice/job/memory.max": "536870912\n",
        },
    )
    assert read_limits(root) == Limits(1.5, 536870912)


def test_version_2_in_a_container_sees_the_root_only(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/../../host/path\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}
    assert read_limits(tree(tmp_path, files)) == Limits(0.5, None)


def test_version_1(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1073741824\n",
        },
    )
    assert read_limits(root) == Limits(2.0, 1073741824)


def test_version_1_without_limits(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "11:memory:/\n4:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert read_limits(root) == Limits()


def test_a_hybrid_control_group_setup_reads_both_versions(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/a\n0::/a\n",
            "sys/fs/cgroup/unified/a/cpu.max": "100000 100000\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4096\n",
        },
    )
    assert read_limits(root) == Limits(1.0, 4096)


def test_a_membership_that_cannot_be_read_falls_back_to_the_roots(tmp_path: Path) -> None:
    assert read_limits(tree(tmp_path, {"sys/fs/cgroup/memory.max": "77\n"})) == Limits(None, 77)


@pytest.mark.parametrize("text", ["", "max", "x y", "100000 0", "-1 100000", "1 2 3", "١ ٢"])
def test_invalid_contents_are_not_a_limit(tmp_path: Path, text: str) -> None:
    files = {"proc/self/cgroup": "0::/\n:\n", "sys/fs/cgroup/cpu.max": text, "sys/fs/cgroup/memory.max": ""}
    assert read_limits(tree(tmp_path, files)).memory_bytes is None


def test_nothing_at_all(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == Limits()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {
                "memory.max": "1000\n",
                "memory.current": "700\n",
                "memory.stat": "anon 500\ninactive_file 150\n",
            },
            450,
        ),
        ({"memory.max": "1000\n", "memory.current": "1200\n"}, 0),
        ({"memory.max": "max\n", "memory.current": "700\n"}, None),
        ({"memory.max": "1000\n"}, None),
    ],
)
def test_what_the_limits_leave_of_the_memory(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    group = "sys/fs/cgroup/job/"
    root = tree(
        tmp_path, {"proc/self/cgroup": "0::/job\n", **{group + name: text for name, text in files.items()}}
    )
    assert read_available(root) == expected


def test_what_is_left_in_version_1_counts_idle_pages_of_files_and_all_levels(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "11:memory:/docker/abc\n",
        "sys/fs/cgroup/memory/docker/memory.limit_in_bytes": "900\n",
        "sys/fs/cgroup/memory/docker/memory.usage_in_bytes": "800\n",
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "500\n",
        "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "300\n",
        "sys/fs/cgroup/memory/docker/abc/memory.stat": "inactive_file 1\ntotal_inactive_file 50\n",
    }
    assert read_available(tree(tmp_path, files)) == 100
