"""A root file system without shell and package manager, made from Debian's packages by mmdebstrap.

The packages come from the archives that apt uses on this machine.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import SetupError
from edgehone.model.digest import digest_file
from edgehone.package.targets.container import glibc
from edgehone.package.targets.container.buildah import failure

Package = tuple[str, str, str]  # name, version, architecture

_HERE = Path(__file__).parent
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
# A hook of mmdebstrap: the new root file system has the lists that were fetched before, and no others.
_COPY_LISTS = (
    'mkdir -p "$1"/var/lib/apt/lists/partial && '
    'cp "$LISTS"/*_Packages* "$LISTS"/*Release "$1"/var/lib/apt/lists'
)
_STATUS, _INFO = "var/lib/dpkg/status.d/", "var/lib/dpkg/info/"
USER: Final = 65532  # as other images without a shell have it
# The users of a root file system.
ACCOUNTS: Final = {
    "etc/passwd": f"root:x:0:0:root:/root:/nonexistent\nnonroot:x:{USER}:{USER}:nonroot:/tmp:/nonexistent\n",
    "etc/group": f"root:x:0:\nnonroot:x:{USER}:\n",
}


@dataclass(frozen=True)
class Recipe:
    """What a root file system is made of.

    `python` is the version of its Python, "" without one. `lists` is the folder with apt's lists of the packages of the
    archives, `archives` the SHA-256 of those.
    """

    suite: str
    arch: str
    python: str
    packages: tuple[str, ...]
    left_out: tuple[str, ...]
    files: tuple[str, ...]
    sources: str
    lists: str
    archives: str


@dataclass(frozen=True)
class Root:
    """A root file system in a tar file, its packages, and the version of its glibc."""

    tar: Path
    packages: tuple[Package, ...]
    glibc: tuple[int, int]


def suite() -> tuple[str, Mapping[str, Any]]:
    """Return the name of this machine's Debian and what is made of its packages.

    Raises SetupError if apt's archives on this machine are not those of a known Debian.
    """
    suites = tomllib.loads((_HERE / "debian.toml").read_text("utf-8"))
    found = _release().get("VERSION_CODENAME", "")
    if found not in suites or sources() is None:
        has = f"has {found or 'no Debian'}" if sources() else "has no sources of apt"
        raise SetupError(
            f"the base image is made from packages of Debian ({', '.join(suites)}), and this machine {has}",
            hint="name a base image by its digest: --set base=REGISTRY/IMAGE@sha256:…",
        )
    return found, suites[found]


def recipe(
    arch: str, names: Sequence[str], has_python: bool, folder: Path, tell: Callable[[str], None]
) -> Recipe:
    """Return what to make of the packages that the archives have now. `folder` keeps apt's lists.

    `names` are lists of packages in debian.toml. `has_python` says whether Python is among them.

    Without a network it is what they had the last time. Raises SetupError as `suite` does, and if the archives cannot
    be reached the first time.
    """
    name, table = suite()
    packages = tuple(package for one in names for package in table[one])
    left_out, files = tuple(table["left_out"]), tuple(table["files"])
    lists = _update(arch, folder, tell)
    known = sorted(lists.glob("*_Packages*"))
    archives = hashlib.sha256(
        "".join(f"{one.name} {digest_file(one)}\n" for one in known).encode()
    ).hexdigest()
    python = str(table["python"]) if has_python else ""
    return Recipe(name, arch, python, packages, left_out, files, str(sources()), str(lists), archives)


def key(made_of: Recipe) -> str:
    """Return a short digest of what a root file system is made of, and of what makes it."""
    own = [(_HERE / name).read_bytes() for name in ("debian.py", "debs.sh", "base.py")]
    made_of_it = {**asdict(made_of), "sources": Path(made_of.sources).read_text("utf-8"), "lists": ""}
    return hashlib.sha256(json.dumps(made_of_it).encode() + b"".join(own)).hexdigest()[:16]


def make_root(made_of: Recipe, scratch: Path) -> Root:
    """Make a root file system. Raises SetupError with mmdebstrap's message."""
    raw, final = scratch / "raw.tar", scratch / "root.tar"
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={made_of.arch}"]
    command += ["--skip=update", f"--setup-hook={_COPY_LISTS}"]
    command += [f"--include={','.join(made_of.packages)}", f"--extract-hook={_HERE / 'debs.sh'}"]
    command += [made_of.suite, str(raw), made_of.sources]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "SOURCE_DATE_EPOCH": "0", "TMPDIR": str(scratch), "LISTS": made_of.lists},
        check=False,
    )
    if done.returncode:
        raise failure("mmdebstrap", done.stderr)
    found = _reduce(raw, final, made_of)
    raw.unlink()
    return found


def package_of(text: str) -> Package | None:
    """Return the package of a description of dpkg; None for one that is not installed or no description."""
    fields = dict(
        line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(" ")
    )
    if "Package" not in fields or "installed" not in fields.get("Status", "installed"):
        return None
    return fields["Package"], fields.get("Version", ""), fields.get("Architecture", "")


def _reduce(raw: Path, final: Path, made_of: Recipe) -> Root:
    """Write a root file system anew, without what is left out, with fixed owners and users."""
    packages: list[Package] = []
    libc = (0, 0)
    with tarfile.open(raw) as source, tarfile.open(final, "w") as target:
        members = {one.name.removeprefix("./").rstrip("/"): one for one in source}
        unwanted = _files_of(source, members, made_of.left_out)
        for name, member in sorted(members.items()):
            if not name or name in unwanted or _matches(name, made_of.files) or member.isdev():
                continue
            content = source.extractfile(member) if member.isfile() else None
            data = content.read() if content else b""
            if name.startswith(_STATUS) and (found := package_of(data.decode("utf-8", "replace"))):
                packages.append(found)
            if name.endswith("/libc.so.6"):
                libc = glibc.version_of(data) or libc
            _write(target, name, member, data)
        for name, text in ACCOUNTS.items():
            _write(target, name, tarfile.TarInfo(name), text.encode())
    return Root(final, tuple(sorted(packages)), libc)


def _write(target: tarfile.TarFile, name: str, member: tarfile.TarInfo, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = (
        member.type,
        member.linkname.removeprefix("./") if member.islnk() else member.linkname,
    )
    entry.mode, entry.size = member.mode & 0o1777, len(data)  # no program of the image changes its user
    target.addfile(entry, io.BytesIO(data))


def _files_of(
    source: tarfile.TarFile, members: dict[str, tarfile.TarInfo], left_out: tuple[str, ...]
) -> set[str]:
    """Return the files of packages that are left out."""
    files: set[str] = set()
    for package in left_out:
        files.add(f"{_STATUS}{package}")
        listed = members.get(f"{_INFO}{package}.list")
        content = source.extractfile(listed) if listed else None
        for line in content.read().decode().splitlines() if content else ():
            name = line.removeprefix("./").rstrip("/")
            if name in members and not members[name].isdir():
                files.add(name)
    return files


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def sources() -> Path | None:
    """Return the file with the archives that apt uses."""
    return next((path for path in _SOURCES if path.is_file()), None)


def _release() -> dict[str, str]:
    path = Path("/etc/os-release")
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}


def _update(arch: str, folder: Path, tell: Callable[[str], None]) -> Path:
    """Let apt fetch its lists into the folder, apart from those of this machine; return where they are."""
    lists, cache = folder / arch / "lists", folder / arch / "cache"
    for one in (lists / "partial", cache):
        one.mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::lists": lists,
        "Dir::Cache": cache,
        "Dir::Etc::sourcelist": sources(),
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
    }
    words = ["apt-get", "update", "-q", "--error-on=any"]
    for name, value in settings.items():
        words += ["-o", f"{name}={value}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        if not list(lists.glob("*_Packages*")):
            raise failure("apt-get update", done.stderr)
        tell("the archives of Debian cannot be reached: the base image has the packages of the last time")
    return lists
