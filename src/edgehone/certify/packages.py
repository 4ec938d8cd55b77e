"""The packages of the bundle's backend: pinned by its lock, installed as locked, and their known vulnerabilities."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.certify.found import Found, Skipped, counted
from edgehone.certify.profile import Rule
from edgehone.certify.subject import Subject
from edgehone.core.errors import InputError, JobError

_LIST = """
import importlib.metadata as m, json
found = {}
for one in m.distributions():
    about = one.metadata
    if about["Name"] and about["Name"] not in found:  # the first is the one that is imported
        told = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
        licence = about.get("License-Expression") or about.get("License") or "; ".join(told)
        found[about["Name"]] = [one.version, licence, one.requires or []]
print(json.dumps(found))
"""
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?==([A-Za-z0-9.!+_-]+)\s*(?:;(.*))?$")
_HINT = 'pip install "edgehone[certify]"'


@dataclass(frozen=True)
class Described:
    """An installed package: its licence in a few words ("" if it states none), and the packages that it may require."""

    version: str
    licence: str
    requires: tuple[str, ...]


def described(python: str | Path) -> Mapping[str, Described]:
    """Return the packages that an interpreter imports, by normalized name. Raises JobError if it cannot list them."""
    done = subprocess.run(
        [str(python), "-I", "-c", _LIST], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise JobError(f"the packages of {python} cannot be listed: {done.stderr.strip()[-200:]}")
    return {
        _normal(name): Described(version, licence.strip().partition("\n")[0][:80], tuple(_named(requires)))
        for name, (version, licence, requires) in json.loads(done.stdout).items()
    }


def _named(requires: Sequence[str]) -> Iterator[str]:
    """Yield the names in requirements such as `uvloop>=0.15.1; sys_platform != "win32"`, without those of extras."""
    for one in requires:
        if "extra ==" in one:
            continue
        if match := _REQUIREMENT.match(one):
            yield _normal(match[0])


def installed(subject: Subject) -> Mapping[str, tuple[str, str]]:
    """Return version and licence of each package in the environment of the bundle's backend, by normalized name."""
    return {name: (one.version, one.licence) for name, one in described(subject.env.python).items()}


def dependencies(subject: Subject, rule: Rule) -> Found:
    """Count the requirements that are not pinned, and the packages that are not installed as pinned or as proven."""
    problems = [
        f"installed is {one}: the bundle was proven with other packages"
        for one in subject.bundle.drifted(subject.env.versions)
    ]
    lock = registry.load(subject.backend).NEEDS.lock
    if lock is None:
        return counted(problems, f"the backend {subject.backend} needs no package of its own")
    pinned, unpinned = read_lock(lock.read_text("utf-8"))
    problems += [f"{lock.name} does not pin {line!r} to one version" for line in unpinned]
    found = subject.once(installed)
    for name, version in pinned.items():
        here = found.get(name, ("", ""))[0]
        if here.partition("+")[0] != version.partition("+")[0]:
            problems.append(f"{name} {version} is locked and {here or 'none'} is installed")
    return counted(
        problems, f"{len(pinned)} packages are installed as locked", {"locked": pinned}, n=len(pinned)
    )


def read_lock(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the pinned packages that this system needs, and the lines that pin nothing."""
    markers = _packaging("markers")
    pinned, unpinned = {}, []
    for raw in text.splitlines():
        line = raw.partition(" #")[0].strip()
        if not line or line.startswith(("#", "--hash")):
            continue
        match = _PINNED.match(line)
        if match is None:
            unpinned.append(line)
        elif not match[4] or markers.Marker(match[4].strip()).evaluate():
            pinned[_normal(match[1])] = match[3]
    return pinned, unpinned


def vulnerabilities(subject: Subject, rule: Rule) -> Found:
    """Count the known vulnerabilities of the installed packages, by a database of advisories (OSV) on disk."""
    source = subject.sources.advisories
    if source is None:
        raise Skipped(
            "no database of advisories: give OSV's of PyPI (a folder or all.zip) with --advisories PATH"
        )
    packages = {name: version for name, (version, _) in subject.once(installed).items()}
    advisories, newest, problems = 0, "", list[str]()
    for entry in read_advisories(source):
        advisories += 1
        newest = max(newest, str(entry.get("modified", "")))
        if not entry.get("withdrawn"):
            problems += _affected(entry, packages)
    if not advisories:
        raise InputError(
            f"{source} has no advisories", hint="give a folder of OSV's JSON files, or their zip file"
        )
    told = (
        f"none of {len(packages)} packages is named by {advisories} advisories, the newest of {newest[:10]}"
    )
    evidence = {"packages": packages, "advisories": advisories, "newest": newest}
    return counted(problems, told, evidence, n=len(packages))


def read_advisories(source: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of a folder or a zip file of OSV's JSON files. Raises InputError for what is neither."""
    try:
        if source.is_dir():
            texts = (path.read_bytes() for path in sorted(source.rglob("*.json")))
        else:
            archive = zipfile.ZipFile(source)
            texts = (archive.read(name) for name in archive.namelist() if name.endswith(".json"))
        for text in texts:
            entry = json.loads(text)
            if not isinstance(entry, Mapping) or "id" not in entry:
                raise ValueError("an entry has no id")
            yield entry
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{source} is no database of advisories: {error}",
            hint="give a folder of OSV's JSON files, or their zip file",
        ) from error


def _affected(entry: Mapping[str, Any], packages: Mapping[str, str]) -> list[str]:
    found = []
    for one in entry.get("affected", ()):
        package = one.get("package", {})
        name = _normal(str(package.get("name", "")))
        if package.get("ecosystem") != "PyPI" or name not in packages:
            continue
        if packages[name] in one.get("versions", ()) or any(
            _in_range(packages[name], each.get("events", ()))
            for each in one.get("ranges", ())
            if each.get("type") == "ECOSYSTEM"
        ):
            found.append(f"{name} {packages[name]}: {entry['id']}: {str(entry.get('summary', ''))[:80]}")
    return found


def _in_range(version: str, events: Any) -> bool:
    """Return whether a version lies between an introduction and the next fix; events are in the order of versions."""
    parse = _packaging("version").Version
    own, inside = parse(version), False
    for event in events:
        if "introduced" in event and own >= parse(event["introduced"]):
            inside = True
        if "fixed" in event and own >= parse(event["fixed"]):
            inside = False
        if "last_affected" in event and own > parse(event["last_affected"]):
            inside = False
    return inside


def _packaging(part: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"packaging.{part}")
    except ModuleNotFoundError as error:
        raise Skipped(f"the versions of packages are compared by the package packaging: {_HINT}") from error


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
