"""The software that serves a bundle, as CycloneDX components: packages of Python, and the native libraries in memory.

Packages are those of the backend's environment and those that edgehone's server needs. Native libraries are those that
the processes of the server had mapped under load: what really ran, however it was installed. A library that
belongs to a package of Debian is listed as that package, with its version and licences; one of a Python package or of
a compiled toolchain by its file and digest.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgehone.attestation.bom import USED_BY
from edgehone.certify.debian import DebianPackage, owners
from edgehone.certify.packages import described, installed
from edgehone.certify.serving import loads
from edgehone.certify.subject import Subject
from edgehone.model.digest import digest_file

# What imports them: the environment in which the artifact runs, or edgehone's own, which answers requests.
ENGINE, SERVER = "engine", "server"
# Modules of Python: parts of their packages, or of Python itself.
_MODULE: Final = re.compile(r"\.(cpython-[^/]*|abi3)\.so$")
_SERVER_NEEDS: Final = ("edgehone", "starlette", "uvicorn", "httptools", "uvloop", "prometheus-client")

Component = dict[str, Any]


def software(subject: Subject) -> list[Component]:
    """Return the components: interpreters, packages and libraries, each once, with what uses it."""
    found: dict[str, Component] = {}
    for component in (*_packages(subject), *_libraries(subject)):
        old = found.setdefault(component["bom-ref"], component)
        if old is not component:
            old["properties"] = _merged(old["properties"], component["properties"])
    return [found[name] for name in sorted(found)]


def _packages(subject: Subject) -> Iterator[Component]:
    for name, (version, licence) in subject.once(installed).items():
        yield _pypi(name, version, licence, ENGINE)
    for name, (version, licence) in _of_server().items():
        yield _pypi(name, version, licence, SERVER)
    yield _component("generic", "python", platform.python_version(), "PSF-2.0", SERVER, kind="platform")
    llama = subject.env.versions.get("llama.cpp")
    if llama:
        yield _component("generic", "llama.cpp", str(llama), "MIT", ENGINE)


def _of_server() -> Mapping[str, tuple[str, str]]:
    """Return the packages of this environment that edgehone's server needs, directly or through others."""
    here = described(sys.executable)
    needed, open_ = set[str](), [one for one in _SERVER_NEEDS if one in here]
    while open_:
        name = open_.pop()
        if name not in needed:
            needed.add(name)
            open_ += [one for one in here[name].requires if one in here]
    return {name: (here[name].version, here[name].licence) for name in sorted(needed)}


def _libraries(subject: Subject) -> Iterator[Component]:
    made = subject.made(loads)
    if made is None:
        return
    paths = [path for path in made.libraries if not _MODULE.search(path)]
    of_system = owners(paths)
    for package in dict.fromkeys(of_system.values()):
        yield _debian(package)
    roots = [path.parent.parent for path in (subject.env.python, Path(sys.executable))]
    roots += [subject.env.toolchain] if subject.env.toolchain else []
    for path in paths:
        if path not in of_system and Path(path).is_file():
            yield _file(Path(path), roots)


def _pypi(name: str, version: str, licence: str, user: str) -> Component:
    return _component("pypi", name, version, licence, user)


def _component(
    source: str, name: str, version: str, licence: str, user: str, kind: str = "library"
) -> Component:
    plain = version.partition(" ")[0]  # llama.cpp's version is followed by its commit
    purl = f"pkg:{source}/{_quoted(name)}@{_quoted(plain)}"
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        **_licences([licence] if licence else []),
        "properties": [_used_by(user)],
    }


def _debian(package: DebianPackage) -> Component:
    purl = f"pkg:deb/debian/{_quoted(package.name)}@{_quoted(package.version)}?arch={package.architecture}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        **_licences(package.licences),
        "properties": [_used_by(f"{ENGINE}, {SERVER}")],
    }


def _file(path: Path, roots: Sequence[Path]) -> Component:
    """Return the component of a library that no package of the system has."""
    digest = digest_file(path)
    inside = next(
        (path.relative_to(root).as_posix() for root in roots if path.is_relative_to(root)), path.name
    )
    return {
        "type": "library",
        "bom-ref": f"library:{digest}",
        "name": path.name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "properties": [_used_by(ENGINE), {"name": "edgehone:file", "value": inside}],
    }


def _licences(names: Sequence[str]) -> Mapping[str, Any]:
    return {"licenses": [{"license": {"name": one}} for one in names]} if names else {}


def _used_by(user: str) -> dict[str, str]:
    return {"name": USED_BY, "value": user}


def _merged(first: list[dict[str, str]], second: list[dict[str, str]]) -> list[dict[str, str]]:
    users = {user for one in (*first, *second) if one["name"] == USED_BY for user in one["value"].split(", ")}
    others = [one for one in first if one["name"] != USED_BY]
    return [_used_by(", ".join(sorted(users))), *others]


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
