"""Detect the storage of a folder: file system, free space and kind of drive.

Sources: proc(5) for mountinfo; the kernel's ABI document sysfs-block (queue/rotational) and its MMC attributes.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgehone.device.sysfs import entries, integer, text

Drive = Literal["rotational", "ssd", "nvme", "emmc", "sd card", "network", "memory"]

_NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "fuse.sshfs",
    "virtiofs",
)
_MEMORY = ("tmpfs", "ramfs", "devtmpfs", "rootfs")


@dataclass(frozen=True)
class Mount:
    """A mount point."""

    device: str  # "254:0"
    point: str
    file_system: str
    source: str


@dataclass(frozen=True)
class Storage:
    """The storage of `path`. `drive` is None if unknown; the reason is in the reasons of `read_storage`."""

    path: str
    total_bytes: int
    free_bytes: int  # for this user
    file_system: str | None = None
    drive: Drive | None = None


def read_storage(path: Path, root: Path, reasons: dict[str, str]) -> Storage | None:
    """Return the storage of an existing folder. Reasons are under "storage" and "storage.drive"."""
    try:
        usage = shutil.disk_usage(path)
        real_path = os.path.realpath(path)
    except OSError as error:
        reasons["storage"] = f"{path}: {error.strerror}"
        return None
    mount = mount_of(parse_mountinfo(text(root / "proc/self/mountinfo") or ""), real_path)
    if mount is None:
        reasons["storage.drive"] = "the system lists no mounts"
        return Storage(str(path), usage.total, usage.free)
    drive = drive_of(mount, root, reasons)
    return Storage(str(path), usage.total, usage.free, mount.file_system, drive)


def parse_mountinfo(content: str) -> list[Mount]:
    """Parse the text of /proc/self/mountinfo. Invalid lines are skipped."""
    mounts = []
    for line in content.splitlines():
        head, dash, tail = line.partition(" - ")
        one, other = head.split(" "), tail.split(" ")
        if dash and len(one) >= 6 and len(other) >= 2:
            mounts.append(Mount(one[2], _unescape(one[4]), other[0], _unescape(other[1])))
    return mounts


def mount_of(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that contains an absolute path: the deepest, and the last of several at the same point."""
    best: Mount | None = None
    for mount in mounts:
        contains = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if contains and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def drive_of(mount: Mount, root: Path, reasons: dict[str, str]) -> Drive | None:
    """Return the kind of drive, or None, with a reason under "storage.drive"."""
    if mount.file_system in _NETWORK:
        return "network"
    if mount.file_system in _MEMORY:
        return "memory"
    block = _block(mount, root)
    if block is None:
        reasons["storage.drive"] = f"the block device of {mount.file_system} is not listed"
        return None
    kind = _kind(block)
    if kind is None:
        reasons["storage.drive"] = f"{block.name} does not state its kind: it is virtual or unknown"
    return kind


def _kind(block: Path) -> Drive | None:
    name, rotational = block.name, integer(block / "queue/rotational")
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith("mmcblk"):
        return "sd card" if text(block / "device/type") == "SD" else "emmc"
    # Virtual drives report that they rotate, whatever they are stored on.
    if rotational is None or re.match(r"x?vd[a-z]", name):
        return None
    return "rotational" if rotational else "ssd"


def _block(mount: Mount, root: Path) -> Path | None:
    """Return the sysfs folder of the physical drive, resolving partitions and mapped devices."""
    folders = [root / "sys/dev/block" / mount.device]
    if mount.source.startswith("/dev/"):  # btrfs has device numbers of its own
        folders.append(root / "sys/class/block" / mount.source.rpartition("/")[2])
    block = next((folder.resolve() for folder in folders if folder.is_dir()), None)
    for _ in range(8):  # mapped devices can be stacked
        if block is None:
            return None
        below = entries(block, "slaves/*")
        if below:
            block = below[0].resolve()
        elif not (block / "queue").is_dir() and (block.parent / "queue").is_dir():
            block = block.parent
        else:
            break
    return block


def _unescape(field: str) -> str:
    """Resolve octal escapes, which mountinfo uses for whitespace and backslashes."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match[1], 8)), field)
