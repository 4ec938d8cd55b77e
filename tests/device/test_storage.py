from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.device.storage import Mount, drive_of, mount_of, parse_mountinfo, read_storage

Tree = Callable[..., Path]


@pytest.mark.parametrize(
    ("drive", "files", "kind"),
    [
        ("sda", {"queue/rotational": "1"}, "rotational"),
        ("sda", {"queue/rotational": "0"}, "ssd"),
        ("nvme0n1", {"queue/rotational": "0"}, "nvme"),
        ("mmcblk0", {"queue/rotational": "0", "device/type": "SD"}, "sd card"),
        ("mmcblk0", {"queue/rotational": "0", "device/type": "MMC"}, "emmc"),
        ("vda", {"queue/rotational": "1"}, None),
        ("sda", {"queue/rotational": "perhaps"}, None),
    ],
)
def test_drives(tree: Tree, drive: str, files: dict[str, str], kind: str | None) -> None:
    place = f"sys/devices/pci/block/{drive}"
    made = {f"{place}/{name}": text for name, text in files.items()}
    root = tree({**made, f"{place}/{drive}1/partition": "1"})
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/8:1").symlink_to(root / place / f"{drive}1")
    reasons: dict[str, str] = {}
    assert drive_of(Mount("8:1", "/", "ext4", "/dev/root"), root, reasons) == kind
    assert ("storage.drive" in reasons) == (kind is None)


def test_mapped_drives_and_btrfs_resolve_to_the_physical_drive(tree: Tree) -> None:
    root = tree({"sys/block/dm-0/queue/rotational": "0", "sys/block/sda/queue/rotational": "1"})
    (root / "sys/block/dm-0/slaves").mkdir()
    (root / "sys/block/dm-0/slaves/sda").symlink_to(root / "sys/block/sda")
    (root / "sys/class/block").mkdir(parents=True)
    (root / "sys/class/block/dm-0").symlink_to(root / "sys/block/dm-0")
    assert drive_of(Mount("0:31", "/", "btrfs", "/dev/dm-0"), root, {}) == "rotational"


@pytest.mark.parametrize(("system", "kind"), [("nfs4", "network"), ("tmpfs", "memory"), ("overlay", None)])
def test_file_systems_without_a_drive(tree: Tree, system: str, kind: str | None) -> None:
    assert drive_of(Mount("0:40", "/", system, system), tree({}), {}) == kind


def test_the_deepest_and_last_mount_counts() -> None:
    said = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 8:2 / /home rw shared:1 master:2 - xfs /dev/sda2 rw\n"
        "31 22 8:3 / /home rw - xfs /dev/sda3 rw\n"
        "32 22 8:4 / /mnt/a\\040b rw - vfat /dev/sdb1 rw\n"
        "rubbish\n"
    )
    mounts = parse_mountinfo(said)
    for place, device in (("/home/x", "8:3"), ("/homes", "8:1"), ("/mnt/a b/c", "8:4"), ("/", "8:1")):
        found = mount_of(mounts, place)
        assert found is not None and found.device == device
    assert mount_of([], "/") is None


@given(st.text())
def test_any_text_is_mounts(said: str) -> None:
    assert isinstance(parse_mountinfo(said), list)


def test_a_folder_of_this_machine(tmp_path: Path) -> None:
    found = read_storage(tmp_path, Path("/"), {})
    assert found is not None and 0 <= found.free_bytes <= found.total_bytes
    reasons: dict[str, str] = {}
    assert read_storage(tmp_path / "gone", Path("/"), reasons) is None
    assert "gone" in reasons["storage"]
