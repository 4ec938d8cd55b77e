"""The target `container` without a container: what it refuses, what it installs, and the first process of an image."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from edgehone.attestation.errors import NotVerified
from edgehone.backends import registry as backends
from edgehone.core.errors import InputError, SetupError
from edgehone.package import registry
from edgehone.package.contents import digest_members
from edgehone.package.targets.container import start, wheels
from edgehone.package.targets.container.base import PYTHON, base_of
from edgehone.package.targets.container.buildah import Store, failure
from edgehone.package.targets.container.layout import Files, read_image, write_history
from edgehone.package.write import Order, pack
from tests.package.containers import base_image, without
from tests.serve.server import wait_for

LIBC = b"\x7fELF GNU C Library (Debian GLIBC 2.31-13) stable release version 2.31.\n"
# What a base needs: Python, glibc, and three libraries.
GOOD: dict[str, bytes | str] = {
    "usr/bin/python3.11": b"python",
    "lib": "usr/lib",
    "usr/lib/x86_64-linux-gnu/libc.so.6": LIBC,
    "usr/lib/x86_64-linux-gnu/libgcc_s.so.1": b"",
    "usr/lib/x86_64-linux-gnu/libstdc++.so.6": b"",
    "usr/lib/x86_64-linux-gnu/libz.so.1": b"",
}


def _pack(bundle: Path, out: Path, **options: str) -> None:
    pack(bundle, Order(registry.load("container"), out, options, unapproved=True))


def test_a_bundle_of_a_backend_that_no_image_holds_is_refused(spoiled: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the backend null does not say which packages it needs"):
        _pack(spoiled, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tool", ["buildah", "mmdebstrap"])
def test_a_missing_program_is_named(
    tool: str, spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", without(tool, tmp_path / "bin"))
    with pytest.raises(SetupError) as error:
        _pack(spoiled, tmp_path / "out")
    assert tool in error.value.message and error.value.hint == f"apt install {tool}"


@pytest.mark.parametrize(
    ("changed", "arch", "problem"),
    [
        ({"usr/bin/python3.11": None}, "amd64", "has no Python 3.11 or newer"),
        ({"usr/bin/python3.11": None, "usr/bin/python3.9": b""}, "amd64", "newer; it has Python 3.9"),
        ({"usr/bin/python3.11": "/gone"}, "amd64", "has no Python 3.11 or newer"),
        ({"usr/lib/x86_64-linux-gnu/libc.so.6": None}, "amd64", "has no glibc"),
        (
            {"usr/lib/x86_64-linux-gnu/libc.so.6": None, "lib/ld-musl-x86_64.so.1": b""},
            "amd64",
            r"it has musl \(lib/ld-musl-x86_64.so.1\)",
        ),
        ({"usr/lib/x86_64-linux-gnu/libc.so.6": b"?"}, "amd64", "does not state its version"),
        ({"usr/lib/x86_64-linux-gnu/libstdc++.so.6": None}, "amd64", r"lacks libstdc\+\+.so.6"),
        ({}, "arm64", "is for arm64, not amd64"),
    ],
)
def test_a_base_without_what_is_needed_is_refused(
    changed: dict[str, bytes | str | None], arch: str, problem: str, tmp_path: Path
) -> None:
    files = {name: content for name, content in {**GOOD, **changed}.items() if content is not None}
    named = base_image(tmp_path / "base", files, arch)
    with pytest.raises(InputError, match=problem):
        base_of(Store(tmp_path / "store"), named, "amd64", PYTHON, lambda text: None)


@pytest.mark.parametrize("named", ["debian:bookworm", "oci:here:latest", "here@sha256:12"])
def test_a_base_is_named_by_its_digest(named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not named by its digest"):
        base_of(Store(tmp_path), named, "amd64", PYTHON, lambda text: None)


def test_a_base_that_is_not_in_the_layout(tmp_path: Path) -> None:
    named = base_image(tmp_path / "base", GOOD)
    other = f"{named.partition('@')[0]}@sha256:{'0' * 64}"
    with pytest.raises(InputError, match="has no image sha256:0000"):
        base_of(Store(tmp_path / "store"), other, "amd64", PYTHON, lambda text: None)
    with pytest.raises(InputError, match="is no OCI image layout"):
        base_of(
            Store(tmp_path / "store"), f"oci:{tmp_path}@sha256:{'0' * 64}", "amd64", PYTHON, lambda text: None
        )


def test_files_of_an_image_are_found_through_links_and_less_what_a_layer_removes(tmp_path: Path) -> None:
    named = base_image(tmp_path, {**GOOD, "lib64": "lib", "etc/.wh.removed": b""})
    files = Files(read_image(tmp_path, named.rpartition("@")[2]))
    assert files.read("lib64/x86_64-linux-gnu/libc.so.6") == LIBC
    assert files.resolve("usr/bin/python3.12") is None
    assert "etc/.wh.removed" not in set(files)


def test_the_history_of_an_image_does_not_depend_on_names_in_a_storage(tmp_path: Path) -> None:
    digests = set()
    for number, named in enumerate(("localhost/one:1", "localhost/two:2")):
        folder = tmp_path / str(number)
        base_image(folder, GOOD, history=["theirs", f"FROM {named}"])
        write_history(folder, ["bundle"])
        image = read_image(folder)
        assert [one.get("comment") for one in image.config["history"]] == ["theirs", "bundle"]
        assert {one.name for one in (folder / "blobs" / "sha256").iterdir()} == {
            one.removeprefix("sha256:")
            for one in (
                image.digest,
                image.manifest["config"]["digest"],
                image.manifest["layers"][0]["digest"],
            )
        }
        for path in (folder / "blobs" / "sha256").iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        digests.add(image.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["llamacpp", "openvino", "olive", "onnxruntime"])
def test_what_runs_a_backend_is_in_its_lock(name: str) -> None:
    needs = backends.load(name).NEEDS
    for kind, runtime in needs.runtime.items():
        wanted = wheels.Wanted(name, kind, "cpu", "amd64", "3.11")
        lines = wheels.requirements(wanted).splitlines()
        assert {line.partition("==")[0] for line in lines} > set(runtime)
        # One version of each for Python 3.11: where a lock has several, markers tell them apart.
        assert len(
            {line.partition("==")[0] for line in lines if "python_full_version >=" not in line}
        ) == len([line for line in lines if "python_full_version >=" not in line])
        assert set(needs.to_run(kind).versions) <= set(runtime)


def test_plugins_of_other_devices_are_left_out() -> None:
    def left_out(device: str) -> str:
        return " ".join(
            wheels.patterns("openvino", wheels.Wanted("openvino", "graph", device, "amd64", "3.11"))
        )

    assert "intel_gpu_plugin" in left_out("cpu") and "intel_npu_plugin" in left_out("cpu")
    assert "intel_gpu_plugin" not in left_out("gpu") and "intel_npu_plugin" in left_out("gpu")
    assert "intel_gpu_plugin" in left_out("npu") and "intel_npu_plugin" not in left_out("npu")


def test_members_of_an_archive_are_read_in_one_pass(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "layer", "w:gz") as archive:
        for name in ("a", "b"):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            archive.addfile(entry, io.BytesIO(name.encode()))
    found = digest_members(tmp_path, ["layer!a", "layer!b"])
    assert found["layer!a"][:8] == "ca978112" and found["layer!b"][:8] == "3e23e816"  # echo -n a | sha256sum
    with pytest.raises(NotVerified, match="no entry is called c"):
        digest_members(tmp_path, ["layer!a", "layer!c"])
    (tmp_path / "layer").write_bytes((tmp_path / "layer").read_bytes()[:60])
    with pytest.raises(NotVerified, match="cannot be read"):
        digest_members(tmp_path, ["layer!a", "layer!b"])


def test_a_full_disk_is_named() -> None:
    error = failure("buildah push", "writing blob: write /x: no space left on device\nsomething else\n")
    assert "no space left on the disk" in error.message and "EDGEHONE_HOME" in (error.hint or "")
    assert failure("buildah push", "").message == "buildah push failed: it wrote no reason"


def _first_process(folder: Path, cpu: list[str]) -> ModuleType:
    folder.mkdir()
    (folder / "start.py").write_bytes(Path(start.__file__).read_bytes())
    (folder / "cpu.json").write_text(json.dumps(cpu))
    spec = importlib.util.spec_from_file_location("start_of_image", folder / "start.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_processor_without_the_instructions_is_refused_by_their_names(tmp_path: Path) -> None:
    first = _first_process(tmp_path / "x86", ["avx2", "avx512f", "fma"])
    assert first.lacking("processor\t: 0\nflags\t\t: fpu fma avx2\n") == ["avx512f"]
    assert first.lacking("processor\t: 0\nflags\t\t: fpu fma avx2 avx512f\n") == []
    assert _first_process(tmp_path / "arm", ["asimd"]).lacking("Features\t: fp asimd\n") == []
    _first_process(tmp_path / "none", ["an_instruction_that_no_processor_has"])
    words = [sys.executable, "-I", str(tmp_path / "none" / "start.py")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "this processor lacks an_instruction_that_no_processor_has" in done.stderr


def test_a_probe_of_no_server_fails(tmp_path: Path) -> None:
    _first_process(tmp_path / "first", [])
    words = ["unshare", "--net", sys.executable, "-I", str(tmp_path / "first" / "start.py"), "probe"]
    if os.geteuid() != 0:
        pytest.skip("a network of its own needs root")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.partition(":")[0]) == (1, "healthz")


def test_sigterm_ends_the_first_process_before_the_server_handles_it(tmp_path: Path) -> None:
    _first_process(tmp_path / "first", [])
    (tmp_path / "edgehone" / "cli").mkdir(parents=True)
    for name in ("__init__.py", "cli/__init__.py"):
        (tmp_path / "edgehone" / name).touch()
    code = "import time, pathlib\npathlib.Path('begun').touch()\ntime.sleep(60)\n"
    (tmp_path / "edgehone" / "cli" / "main.py").write_text(code)
    (tmp_path / "first" / "start.py").write_text(
        (tmp_path / "first" / "start.py").read_text().replace('Path("/bundles")', f'Path("{tmp_path}")')
    )
    child = subprocess.Popen(
        [sys.executable, str(tmp_path / "first" / "start.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    wait_for((tmp_path / "begun").exists)
    child.terminate()
    assert child.wait(30) == 0  # it would end by itself after 60 s
