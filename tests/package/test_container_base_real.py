"""The base images that buildah makes: when they are made anew, and without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.core.errors import InputError, SetupError
from edgehone.package.targets.container import debian
from edgehone.package.targets.container.base import PYTHON, base_of
from edgehone.package.targets.container.buildah import Store, store
from edgehone.package.targets.container.layout import read_image
from tests.package.containers import (
    base_image,
    podman,
)
from tests.package.realimages import Make, pack_image
from tests.package.test_container import GOOD, LIBC
from tests.serve.test_infer_real import bundle_of

__all__ = ["bundle_of"]  # fixtures
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("container")]


@pytest.mark.long
def test_a_base_is_made_anew_when_the_packages_of_the_archives_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman()
    told: list[str] = []
    own = Store(tmp_path / "own")
    made = base_of(own, None, "amd64", PYTHON, told.append)
    assert told == ["making a base image from packages of Debian bookworm"]
    # It is named by its content: another storage has the same.
    assert base_of(store(), None, "amd64", PYTHON, lambda text: None).image == made.image
    (list_of_packages,) = (own.folder / "apt" / "amd64" / "lists").glob("*_bookworm_main_*_Packages*")
    monkeypatch.setattr(debian, "_update", lambda arch, folder, tell: folder / arch / "lists")
    assert base_of(own, None, "amd64", PYTHON, told.append) == made and len(told) == 1
    list_of_packages.write_bytes(list_of_packages.read_bytes()[:-1])
    with pytest.raises(SetupError, match="mmdebstrap"):  # which looks for the packages in this very list
        base_of(own, None, "amd64", PYTHON, told.append)


def test_without_a_network_the_base_is_that_of_the_last_time(tmp_path: Path) -> None:
    podman()
    (tmp_path / "sources").write_text("deb [trusted=yes] http://127.0.0.1:9/debian bookworm main\n")
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(debian, "_SOURCES", (tmp_path / "sources",))
        with pytest.raises(SetupError, match="apt-get update failed"):
            debian.recipe("amd64", ("edgehone",), True, tmp_path, told.append)
        (tmp_path / "amd64" / "lists" / "some_Packages.lz4").write_bytes(b"1")
        first = debian.recipe("amd64", ("edgehone",), True, tmp_path, told.append)
        (tmp_path / "amd64" / "lists" / "some_Packages.lz4").write_bytes(b"2")
        second = debian.recipe("amd64", ("edgehone",), True, tmp_path, told.append)
    assert (
        told
        == ["the archives of Debian cannot be reached: the base image has the packages of the last time"] * 2
    )
    assert debian.key(first) != debian.key(second)


@pytest.mark.long
def test_a_base_that_the_user_names(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("onnxruntime", "original")
    ours = base_of(store(), None, "amd64", PYTHON, lambda text: None)
    store().write(ours.image, tmp_path / "base", "base")
    named = f"oci:{tmp_path / 'base'}@{read_image(tmp_path / 'base').digest}"
    packed = pack_image(bundle, tmp_path / "package", name="digits", base=named)
    assert {one.outcome for one in packed.checks} == {"passed"}, packed.checks
    labels = read_image(packed.path / "image").config["config"]["Labels"]
    assert labels["org.opencontainers.image.base.digest"] == named.partition("@")[2]
    assert "ARG BASE" in (packed.path / "build" / "Containerfile").read_text()
    old = {**GOOD, "usr/lib/x86_64-linux-gnu/libc.so.6": LIBC.replace(b"2.31", b"2.17")}
    with pytest.raises(InputError, match=r"has glibc 2\.17; the packages of Python needs 2\.\d+"):
        pack_image(bundle, tmp_path / "old", name="digits", base=base_image(tmp_path / "old-base", old))
    assert not (tmp_path / "old").exists()


@pytest.mark.long
def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    podman()
    images = Store(tmp_path / "containers")
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    gone = int(child.stdout)
    images.run("from", "--name", f"edgehone-{gone}-00000000", "scratch")
    left = images.folder / f"scratch-{gone}-x"
    left.mkdir()
    with images.container("scratch", "amd64"), images.scratch() as own:
        images.sweep()
        assert Path(own).is_dir() and not left.exists()
        names = images.run("containers", "--format", "{{.ContainerName}}", "--noheading").split()
        assert [name.split("-")[1] for name in names] == [str(os.getpid())]
