"""Images that buildah builds and podman starts: they answer what was proven, and can do nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import edgehone
from edgehone.attestation.errors import NotVerified
from edgehone.bundle.schema import text_of
from edgehone.core.errors import InputError, SetupError
from edgehone.package.targets.container import llama
from edgehone.package.targets.container.buildah import store
from edgehone.package.targets.container.layout import Files, read_image
from edgehone.package.verify import verify_package
from edgehone.worker import canaries
from tests.attestation.signed import certified, make_key
from tests.disks import small_file_system
from tests.finished import list_again
from tests.package.containers import (
    Container,
    built_by_containerfile,
    pip_settings,
    podman,
    started,
    without,
)
from tests.package.realimages import Make, pack_image
from tests.serve.conftest import bundle_of as bundle_of_text
from tests.serve.server import wait_for
from tests.serve.test_infer_real import bundle_of

__all__ = ["bundle_of", "bundle_of_text"]  # fixtures
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("container")]


def test_an_image_of_a_graph_answers_what_was_proven(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("onnxruntime", "original")
    packed = pack_image(bundle, tmp_path / "package", name="digits")
    assert {one.name: one.outcome for one in packed.checks} == dict.fromkeys(
        ("skopeo inspect", "podman run", "no shell", "SIGTERM"), "passed"
    ), packed.checks
    with started(packed.path) as container:
        _outputs_are_those_of_the_bundle(container, bundle, "digits")
        _nothing_can_be_written(container)
        assert "who signed the bundle is not checked" in container.log()
        code = container.end()
    assert code == 0
    image = read_image(packed.path / "image")
    _settings_are_those_of_a_locked_image(image.config)
    _the_bill_names_what_is_in_it(packed.path, bundle)
    verified = verify_package(packed.path)
    assert len(verified.package.carried) == sum(one.is_file() for one in bundle.rglob("*"))
    _the_containerfile_is_clean(packed.path / "build" / "Containerfile")
    again = pack_image(bundle, tmp_path / "again", name="digits")
    assert _digests(again.path) == _digests(packed.path)
    assert packed.package.fillings[0].bytes < 80e6, packed.package.fillings


def _outputs_are_those_of_the_bundle(container: Container, bundle: Path, name: str) -> None:
    for question, answer in canaries.read(bundle / "canaries"):
        inputs = [
            {"name": key, "datatype": "FP32", "shape": list(value.shape), "data": value.ravel().tolist()}
            for key, value in question.items()
        ]
        outputs = container.post(f"/v2/models/{name}/infer", {"inputs": inputs})["outputs"]
        assert {one["name"] for one in outputs} == set(answer)
        for one in outputs:
            got = np.asarray(one["data"], answer[one["name"]].dtype).reshape(one["shape"])
            assert np.array_equal(got, answer[one["name"]])


def _nothing_can_be_written(container: Container) -> None:
    for place in ("/", "/bundles", "/opt/edgehone", "/etc"):
        done = container.python(f"open('{place}/x', 'w')")
        assert done.returncode == 1 and "Read-only file system" in done.stderr, done.stderr
    who = container.python("import os; print(os.getuid(), os.getgid(), open('/proc/self/status').read())")
    assert who.stdout.startswith("65532 65532") and "CapEff:\t0000000000000000" in who.stdout
    for shell in ("/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/perl", "/usr/bin/dpkg", "/bin/tar"):
        assert container.exec(shell, "-c", "exit 0").returncode != 0


def _settings_are_those_of_a_locked_image(config: Any) -> None:
    settings = config["config"]
    assert settings["User"] == "65532:65532" and list(settings["ExposedPorts"]) == ["8080/tcp"]
    assert settings["Entrypoint"] == ["/opt/edgehone/bin/python", "-I", "/opt/edgehone/start.py"]
    assert settings.get("Cmd") is None
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.title"] == "digits"
    assert "sse4_2" in labels["io.edgehone.cpu"].split(",")
    assert labels["io.edgehone.probe"].endswith("start.py probe")


def _the_bill_names_what_is_in_it(package: Path, bundle: Path) -> None:
    text = (package / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {one["name"]: one for one in json.loads(text)["components"]}
    files = Files(read_image(package / "image"))
    here = {name.rpartition("/")[2] for name in files if name.startswith("var/lib/dpkg/status.d/")}
    assert {name for name, one in components.items() if one.get("purl", "").startswith("pkg:deb")} == here
    found = {name.rpartition("/")[0] for name in files if name.endswith(".dist-info/METADATA")}
    names = {one.rpartition("/")[2].partition("-")[0].lower().replace("_", "-") for one in found}
    python = {name for name, one in components.items() if one.get("purl", "").startswith("pkg:pypi")}
    assert python | {"edgehone"} == names
    parts = next(one["components"] for one in components.values() if one["type"] == "machine-learning-model")
    model = {one["name"]: one["hashes"][0]["content"] for one in parts}
    assert model
    for name, digest in model.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest


def _the_containerfile_is_clean(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _digests(package: Path) -> dict[str, str]:
    return {
        one.relative_to(package).as_posix(): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in package.rglob("*")
        if one.is_file()
    }


@pytest.mark.long
@pytest.mark.parametrize("name", ["llamacpp", "openvino", "olive"])
def test_an_image_of_a_language_model_answers_what_was_proven(
    name: str, bundle_of_text: Make, tmp_path: Path
) -> None:
    bundle = bundle_of_text(name)
    packed = pack_image(bundle, tmp_path / "package", name="text")
    with started(packed.path) as container:
        for canary in edgehone.read(bundle).manifest.canaries:
            asked = {
                "model": "text",
                "prompt": canary["prompt"],
                "max_tokens": len(canary["answer"]),
                "temperature": 0,
            }
            told = container.post("/v1/completions", {**asked, "echo": True})["choices"][0]["text"]
            again = container.post("/v1/completions", {**asked, "echo": True})["choices"][0]["text"]
            assert told == again
        proof = container.client.get("/readyz").json()["proofs"]["text"]
        assert proof.startswith("all ") and proof.endswith("are equal"), proof
        code = container.end()
    assert code == 0
    cpu = read_image(packed.path / "image").config["config"]["Labels"]["io.edgehone.cpu"]
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    assert set(cpu.split(",")) <= set(flags)
    assert ("avx2" in cpu) is (name == "llamacpp" and "avx2" in flags)


@pytest.mark.long
def test_a_key_in_the_image_or_mounted_decides_who_must_have_signed(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("onnxruntime", "original")
    signing, other = make_key(tmp_path, "signing"), make_key(tmp_path, "other")
    (tmp_path / "other.pub").chmod(0o644)
    certified(bundle, signing)
    key = str(signing.with_suffix(".pub"))
    with pytest.raises(NotVerified, match="signed"):
        pack_image(bundle, tmp_path / "package", name="digits", key=str(other.with_suffix(".pub")))
    assert not (tmp_path / "package").exists()
    packed = pack_image(bundle, tmp_path / "package", name="digits", key=key)
    with started(packed.path) as container:
        _outputs_are_those_of_the_bundle(container, bundle, "digits")
        assert "who signed the bundle is not checked" not in container.log()
    mounted = f"{other.with_suffix('.pub')}:/etc/edgehone/key.pem:ro"
    with started(packed.path, "--volume", mounted, ready=False) as container:
        wait_for(lambda: "signed" in container.log(), 30)


@pytest.mark.long
def test_another_storage_gives_the_same_digest(
    bundle_of: Make, tmp_path: Path, real_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of("onnxruntime", "original")
    first = pack_image(bundle, tmp_path / "first", name="digits")
    home = tmp_path / "home"
    home.mkdir()
    for part in ("envs", "toolchains", "logs"):
        (home / part).symlink_to((real_home / part).resolve())
    monkeypatch.setenv("EDGEHONE_HOME", str(home))
    second = pack_image(bundle, tmp_path / "second", name="digits")
    assert _digests(second.path) == _digests(first.path)
    # In a storage that was in use, an image can have several names.
    for number, one in enumerate(
        store().run("images", "--format", "{{.Name}}:{{.Tag}}", "--noheading").split()
    ):
        store().run("tag", one, f"localhost/another:{number}")
    third = pack_image(bundle, tmp_path / "third", name="digits")
    assert _digests(third.path) == _digests(first.path)
    image = read_image(third.path / "image")
    assert "localhost" not in json.dumps(image.config) and "buildah" not in json.dumps(image.config)
    assert [one["comment"] for one in image.config["history"]] == [
        "base image",
        "Python packages",
        "edgehone and programs",
        "bundle",
    ]


@pytest.mark.long
def test_an_image_for_arm64_holds_programs_for_it(bundle_of: Make, tmp_path: Path) -> None:
    packed = pack_image(
        bundle_of("onnxruntime", "original"), tmp_path / "package", name="digits", arch="arm64"
    )
    assert [one.outcome for one in packed.checks] == ["passed", "skipped"]
    image = read_image(packed.path / "image")
    assert image.config["architecture"] == "arm64"
    assert image.config["config"]["Labels"]["io.edgehone.cpu"] == "asimd"
    files = Files(image)
    libraries = [name for name in files if ".so" in name.rpartition("/")[2] and files.entry(name).isfile()]
    assert len(libraries) > 20
    native = [
        name for name in libraries if name.endswith(("libc.so.6", "_state.cpython-311-aarch64-linux-gnu.so"))
    ]
    assert native
    for name in native:
        head = files.read(name)[:20]
        assert head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") == 183, name
    assert not [name for name in libraries if "x86_64" in name]


@pytest.mark.long
def test_a_llama_cpp_for_another_machine(bundle_of_text: Make, tmp_path: Path) -> None:
    bundle = bundle_of_text("llamacpp")
    podman()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", without("aarch64-linux-gnu-g++", tmp_path / "path"))
        with pytest.raises(SetupError, match=r"aarch64-linux-gnu-g\+\+ is not installed"):
            llama.folder_of("llamacpp", "arm64", None, lambda text: None)
    with pytest.raises(InputError, match="no instruction set of x86-64 is called 'armv8-a'"):
        pack_image(bundle, tmp_path / "package", cpu="armv8-a")
    with pytest.raises(InputError, match="cpu says for what"):
        pack_image(bundle, tmp_path / "package", cpu="armv8-a", toolchain=str(tmp_path))
    (tmp_path / "bin").mkdir()
    shutil.copyfile(sys.executable, tmp_path / "bin" / "llama-server")
    with pytest.raises(InputError, match="llama-server is for amd64, not arm64"):
        pack_image(bundle, tmp_path / "package", arch="arm64", toolchain=str(tmp_path))
    assert not (tmp_path / "package").exists()


@pytest.mark.long
def test_a_full_disk_leaves_nothing(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("onnxruntime", "original")
    small = tmp_path / "small"
    with small_file_system(small, "24m"):
        with pytest.raises(SetupError, match="no space left"):
            pack_image(bundle, small / "package", name="digits")
        assert not list(small.iterdir())


@pytest.mark.long
def test_the_containerfile_builds_the_same_files(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("onnxruntime", "original")
    packed = pack_image(bundle, tmp_path / "package", name="digits")
    built = built_by_containerfile(packed.path, bundle, tmp_path, *pip_settings())
    ours, theirs = _files(packed.path / "image"), _files(built)
    # Buildah leaves an empty file for each file that it mounts in a step: its own two, and those of `pip_settings`.
    mounted = {
        one.partition(":")[0].lstrip("/") for one in pip_settings() if one.startswith("/") and ":" in one
    }
    left = {*mounted, "etc/hosts", "etc/resolv.conf"}
    assert set(theirs) - left == set(ours)
    assert [name for name in ours if theirs[name] != ours[name]] == []


def _files(layout: Path) -> dict[str, str]:
    """The files of an image and digests of their content, without bytecode, whose bytes may differ."""
    files: dict[str, str] = {}
    for layer in read_image(layout).layers:
        with tarfile.open(layer) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content and not member.name.endswith(".pyc"):
                    files[member.name] = hashlib.sha256(content.read()).hexdigest()
    return files


@pytest.mark.long
def test_plugins_of_a_gpu_are_kept_on_request(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("openvino", "fp32")
    sizes = {}
    for device in ("cpu", "gpu"):
        packed = pack_image(bundle, tmp_path / device, name="digits", device=device)
        assert {one.outcome for one in packed.checks} == {"passed"}, packed.checks
        sizes[device] = packed.package.fillings[0].bytes
        image = read_image(packed.path / "image")
        assert image.config["config"]["Labels"]["io.edgehone.device"] == device
        plugins = [name for name in Files(image) if name.endswith("libopenvino_intel_gpu_plugin.so")]
        assert bool(plugins) is (device == "gpu")
        components = json.loads((packed.path / "sbom.cdx.json").read_text())["components"]
        assert any(one["name"] == "intel-opencl-icd" for one in components) is (device == "gpu")
    assert sizes["cpu"] < sizes["gpu"]
    with pytest.raises(InputError, match="device=npu keeps OpenVINO's plugins"):
        pack_image(_of(bundle, "onnxruntime"), tmp_path / "npu", device="npu")


def _of(bundle: Path, backend: str) -> Path:
    """Say that a bundle is of another backend."""
    manifest = edgehone.read(bundle).manifest
    changed = replace(manifest, recipe={**manifest.recipe, "backend": backend})
    (bundle / "manifest.json").write_text(text_of(changed.to_json()))
    list_again(bundle)
    return bundle
