"""What a bill of materials names of the software: packages of Python, packages of Debian, libraries by their digest."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from edgehone.certify import software as module
from edgehone.certify.debian import owners
from edgehone.certify.packages import described
from edgehone.certify.serving import Loads, loads
from edgehone.certify.subject import Subject
from tests.certify.subjects import subject_of
from tests.finished import Finished

_MAPS = Path("/proc/self/maps").read_text() if Path("/proc/self/maps").is_file() else ""
LIBC = next((line.rpartition(" ")[2] for line in _MAPS.splitlines() if line.endswith("/libc.so.6")), "")
debian = pytest.mark.skipif(not LIBC or shutil.which("dpkg-query") is None, reason="no Debian")


@pytest.fixture
def subject(finished: Finished, tmp_path: Path) -> Subject:
    return subject_of(finished.bundle, tmp_path / "work")


def _served(subject: Subject, *libraries: str) -> Subject:
    empty = Loads(1.0, 9.0, [], [], 0.0, 9.0, 9.0, 6.0, ("", ""), [], "", 1.0, [], 0, libraries)
    subject._made[loads] = empty
    return subject


@debian
def test_the_package_of_a_library_is_known_by_either_name_of_its_folder() -> None:
    plain = LIBC.removeprefix("/usr")
    for path in (plain, f"/usr{plain}"):
        found = owners(["/nowhere/libx.so", path, "/etc/passwd"])
        assert found.keys() == {path} and found[path].name == "libc6"
        assert found[path].version and any("LGPL" in one for one in found[path].licences)
    assert owners([]) == {}


@debian
def test_libraries_are_packages_of_the_system_or_files(subject: Subject, tmp_path: Path) -> None:
    own = tmp_path / "libown.so.1"
    own.write_bytes(b"\x7fELF own")
    modules = [f"{tmp_path}/_x.cpython-311-x86_64-linux-gnu.so", f"{tmp_path}/y.abi3.so"]
    for path in modules:
        Path(path).write_bytes(b"\x7fELF")
    gone = str(tmp_path / "gone.so")
    made = module.software(_served(subject, LIBC, str(own), gone, *modules))
    named = {one["name"]: one for one in made}
    assert named["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    assert named["libown.so.1"]["hashes"][0]["alg"] == "SHA-256"
    assert not {"_x.cpython-311-x86_64-linux-gnu.so", "y.abi3.so", "gone.so"} & named.keys()
    assert str(tmp_path) not in str(made)


def test_each_package_is_listed_once_with_all_that_use_it(subject: Subject) -> None:
    made = module.software(subject)
    references = [one["bom-ref"] for one in made]
    assert len(references) == len(set(references))
    (numpy,) = (one for one in made if one["name"] == "numpy")
    used = {one["name"]: one["value"] for one in numpy["properties"]}
    assert used["edgehone:used_by"] == "engine, server"  # the null backend runs in edgehone's own environment


def test_licences_are_taken_from_whatever_states_them() -> None:
    here = described(sys.executable)
    assert "MIT" in here["sqlalchemy"].licence
    assert all(len(one.licence) <= 80 and "\n" not in one.licence for one in here.values())
    assert "typing-extensions" in here["sqlalchemy"].requires
