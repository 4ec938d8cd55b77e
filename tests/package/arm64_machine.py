"""An arm64 machine under QEMU with Debian's cloud kernel, which mounts a model's image and runs or replaces it."""

from __future__ import annotations

import shutil
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.package.newc import write_newc

NEEDED = {
    "qemu-system-aarch64": "qemu-system-arm",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
}
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")
# In this order: each needs those before it. Those that the kernel has built in are not there.
MODULES = (
    "virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "crc16", "crc32c_generic", "libcrc32c", "mbcache", "jbd2",
    "ext4", "loop", "squashfs", "dax", "dm-mod", "dm-bufio", "reed_solomon", "dm-verity",
)  # fmt: skip
# What the initrd needs, and what `rauc install` needs of a root file system.
KERNEL = ("linux-image-cloud-arm64", "busybox-static")
RAUC = ("rauc", "rauc-service", "dbus-daemon", "dash", "coreutils", "diffutils")
INIT = Path(__file__).with_name("arm64_init.sh")


def debian_tree(folder: Path, *packages: str) -> Path:
    """Unpack arm64 packages of Debian into a folder, from the package sources of this machine."""
    command = [
        "mmdebstrap",
        "--variant=extract",
        "--architectures=arm64",
        f"--include={','.join(packages)}",
        "--mode=root",
    ]
    subprocess.run([*command, "bookworm", str(folder), str(SOURCES)], check=True, capture_output=True)
    return folder


@dataclass(frozen=True)
class Machine:
    """A machine whose disk `data` keeps what is installed, and whose disk `updates` holds what can be installed.

    The disk `tools` is a root file system with RAUC.
    """

    kernel: Path
    initrd: Path
    data: Path
    updates: Path
    tools: Path | None = None

    @classmethod
    def make(
        cls, tree: Path, folder: Path, scripts: Mapping[str, Path], updates: Mapping[str, Path]
    ) -> Machine:
        """Make the initrd and the disks. `scripts` are hook.sh, confirm.sh and fallback.sh of a package.

        `updates` are images (a hook of the test installs them) or bundles of RAUC, by the names of their files.
        """
        root = folder / "initrd"
        for name in ("bin", "modules", "system", "proc", "sys", "dev", "updates", "tools", "tmp"):
            (root / name).mkdir(parents=True)
        shutil.copyfile(INIT, root / "init")
        shutil.copyfile(tree / "bin" / "busybox", root / "bin" / "busybox")
        found = {path.stem: path for path in tree.glob("lib/modules/*/kernel/**/*.ko")}
        loaded = [name for name in MODULES if name in found]
        for name in loaded:
            shutil.copyfile(found[name], root / "modules" / f"{name}.ko")
        (root / "modules" / "order").write_text("\n".join(loaded) + "\n")
        for name, path in scripts.items():
            shutil.copyfile(path, root / "system" / name)
        for path in (root / "init", root / "bin" / "busybox", *(root / "system").iterdir()):
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        write_newc(root, folder / "initrd.cpio")
        (content := folder / "updates").mkdir()
        for name, path in updates.items():
            shutil.copyfile(path, content / name)
        made = cls(
            next(tree.glob("boot/vmlinuz-*")),
            folder / "initrd.cpio",
            folder / "data.disk",
            folder / "updates.disk",
        )
        _disk(made.data, 96)
        _disk(made.updates, 64, content)
        return made

    def command(self, step: str) -> Sequence[str]:
        """Return the command that starts the machine for one step: `run`, `install=NAME` or `rauc=NAME`."""
        disks = []
        drives = [self.data, self.updates, *([self.tools] if self.tools else ())]
        for path in drives:
            disks += ["-drive", f"file={path},if=none,format=raw,id={path.stem}"]
        # The last one given is the first that the kernel finds.
        for path in reversed(drives):
            disks += ["-device", f"virtio-blk-device,drive={path.stem}"]
        return [
            *("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a76", "-accel", "tcg", "-m", "512"),
            *(
                "-nographic",
                "-net",
                "none",
                "-no-reboot",
                "-kernel",
                str(self.kernel),
                "-initrd",
                str(self.initrd),
            ),
            *(
                "-append",
                f"console=ttyAMA0 quiet panic=-1 rauc.external now={int(time.time())} {step}",
                *disks,
            ),
        ]

    def boot(self, step: str) -> str:
        """Start the machine for one step, and return what it printed until it switched itself off."""
        done = subprocess.run(
            self.command(step), capture_output=True, timeout=300, stdin=subprocess.DEVNULL, check=True
        )
        return done.stdout.decode("utf-8", "replace")


def _disk(path: Path, megabytes: int, content: Path | None = None) -> None:
    words = ["-d", str(content)] if content else []
    subprocess.run(["mke2fs", "-q", "-t", "ext4", *words, str(path), f"{megabytes}M"], check=True)


def rauc_disk(tree: Path, settings: Path, keyring: Path, disk: Path) -> Path:
    """Make a disk of an unpacked root file system with RAUC, its settings, and the certificates that it trusts."""
    for name in ("rauc", "dbus-1"):
        (tree / "etc" / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(settings, tree / "etc" / "rauc" / "system.conf")
    shutil.copyfile(keyring, tree / "etc" / "rauc" / "keyring.pem")
    (tree / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc" / "group").write_text("root:x:0:\n")
    (tree / "etc" / "machine-id").write_text("0" * 31 + "1\n")
    (tree / "etc" / "dbus-1" / "plain.conf").write_text(_BUS)
    for name in ("proc", "sys", "dev", "run", "tmp", "updates", "var/lib/edgehone"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache"):
        shutil.rmtree(tree / name, ignore_errors=True)
    _disk(disk, 400, tree)
    return disk


# A bus with the rules of a session's: everything in this machine may talk to everything.
_BUS = """<busconfig>
  <type>session</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
