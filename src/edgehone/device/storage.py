"""What a folder lies on: file system, room, and the kind of drive.

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
    """A line of mountinfo."""

    device: str  # "254:0"
    point: str
    file_system: str
    source: str


@dataclass(frozen=True)
class Storage:
    """Where `path` lies. `drive` is None where the system does not tell, with the reason beside it."""

    path: str
    total_bytes: int
    free_bytes: int  # for this user
    file_system: str | None = None
    drive: Drive | None = None


def read_storage(path: Path, root: Path, reasons: dict[str, str]) -> Storage | None:
    """Of an existing folder; the reasons are under "storage" and "storage.drive"."""
    try:
        usage = shutil.disk_usage(path)
        place = os.path.realpath(path)
    except OSError as error:
        reasons["storage"] = f"{path}: {error.strerror}"
        return None
    mount = under(parse_mountinfo(text(root / "proc/self/mountinfo") or ""), place)
    if mount is None:
        reasons["storage.drive"] = "the system lists no mounts"
        return Storage(str(path), usage.total, usage.free)
    drive = drive_of(mount, root, reasons)
    return Storage(str(path), usage.total, usage.free, mount.file_system, drive)


def parse_mountinfo(said: str) -> list[Mount]:
    """The mounts in the text of /proc/self/mountinfo; a line that is none is left out."""
    found = []
    for line in said.splitlines():
        head, dash, tail = line.partition(" - ")
        one, other = head.split(" "), tail.split(" ")
        if dash and len(one) >= 6 and len(other) >= 2:
            found.append(Mount(one[2], _plain(one[4]), other[0], _plain(other[1])))
    return found


def under(mounts: list[Mount], place: str) -> Mount | None:
    """The mount that an absolute path lies on: the deepest, and of several at one point the last."""
    best: Mount | None = None
    for mount in mounts:
        holds = place == mount.point or place.startswith(mount.point.rstrip("/") + "/")
        if holds and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def drive_of(mount: Mount, root: Path, reasons: dict[str, str]) -> Drive | None:
    """The kind of drive; None, with the reason under "storage.drive"."""
    if mount.file_system in _NETWORK:
        return "network"
    if mount.file_system in _MEMORY:
        return "memory"
    block = _block(mount, root)
    if block is None:
        reasons["storage.drive"] = f"what {mount.file_system} lies on is no block device that is listed"
        return None
    kind = _kind(block)
    if kind is None:
        reasons["storage.drive"] = f"{block.name} does not tell what it is: virtual, or of an unknown kind"
    return kind


def _kind(block: Path) -> Drive | None:
    name, rotational = block.name, integer(block / "queue/rotational")
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith("mmcblk"):
        return "sd card" if text(block / "device/type") == "SD" else "emmc"
    if rotational is None or re.match(
        r"x?vd[a-z]", name
    ):  # a virtual drive says that it rotates, whatever is behind
        return None
    return "rotational" if rotational else "ssd"


def _block(mount: Mount, root: Path) -> Path | None:
    """The whole drive's folder in sysfs: partitions and mapped devices lead to it."""
    places = [root / "sys/dev/block" / mount.device]
    if mount.source.startswith("/dev/"):  # btrfs numbers its devices itself
        places.append(root / "sys/class/block" / mount.source.rpartition("/")[2])
    found = next((place.resolve() for place in places if place.is_dir()), None)
    for _ in range(8):  # a mapped device on a mapped device …
        if found is None:
            return None
        below = entries(found, "slaves/*")
        if below:
            found = below[0].resolve()
        elif not (found / "queue").is_dir() and (found.parent / "queue").is_dir():
            found = found.parent
        else:
            break
    return found


def _plain(said: str) -> str:
    """mountinfo writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match[1], 8)), said)
