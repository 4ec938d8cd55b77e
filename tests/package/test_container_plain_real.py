"""Images of llama-server alone that buildah builds and podman starts: they answer what was proven."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import edgehone
from edgehone.core.errors import InputError, SetupError
from edgehone.package.targets.container import plain_server
from edgehone.package.targets.container.base import base_of
from edgehone.package.targets.container.buildah import store
from edgehone.package.targets.container.layout import Files, read_image
from edgehone.package.verify import verify_package
from tests.finished import list_again
from tests.package import arm64_image
from tests.package.containers import Container, base_image, built_by_containerfile, podman, started
from tests.package.mobile import contents
from tests.package.realimages import Make, pack_image
from tests.package.test_container import GOOD, LIBC
from tests.package.test_container_arm64 import _with_one_thread
from tests.package.test_container_real import _files, _the_containerfile_is_clean
from tests.registry.servers import program
from tests.serve.conftest import bundle_of
from tests.serve.server import wait_for

__all__ = ["bundle_of"]  # a fixture
pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.xdist_group("container")]
PLAIN = {"server": "llama-server", "name": "text"}
READY = "/health"


def test_it_answers_what_was_proven_and_can_do_nothing_else(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("llamacpp")
    packed = pack_image(bundle, tmp_path / "package", **PLAIN)
    assert {one.name: one.outcome for one in packed.checks} == dict.fromkeys(
        ("skopeo inspect", "podman run", "no shell", "SIGTERM", "the proven answers"), "passed"
    ), packed.checks
    with started(packed.path, path=READY) as container:
        _answers_are_those_of_the_bundle(container, bundle)
        assert "llamacpp:" in container.client.get("/metrics").text
        for shell in ("/bin/sh", "/bin/bash", "/usr/bin/python3", "/usr/bin/dpkg", "/bin/tar"):
            assert container.exec(shell, "-c", "exit 0").returncode != 0
        code = container.end()
    assert code == 0
    with started(packed.path, ready=False) as container:
        wait_for(lambda: bool(container.log()), 30)  # llama-server loads the model, and handles no signal yet
        code = container.end()
    assert code == 0
    _it_contains_what_runs_llama_server_and_the_bundle(packed.path, bundle)
    _the_containerfile_is_clean(packed.path / "build" / "Containerfile")
    readme = (packed.path / "README.md").read_text()
    assert "It proves nothing when it starts" in readme and "Its answers were compared" in readme


def _answers_are_those_of_the_bundle(container: Container, bundle: Path) -> None:
    for canary in edgehone.read(bundle).manifest.canaries:
        asked = {"prompt": canary["prompt"], "n_predict": len(canary["answer"]), "temperature": 0}
        told = container.post("/completion", {**asked, "return_tokens": True, "cache_prompt": False})
        assert told["tokens"] == list(canary["answer"])
    assert container.client.get("/v1/models").json()["data"][0]["id"] == "text"


def _it_contains_what_runs_llama_server_and_the_bundle(package: Path, bundle: Path) -> None:
    image = read_image(package / "image")
    settings, files = image.config["config"], Files(image)
    assert settings["User"] == "65532:65532" and list(settings["ExposedPorts"]) == ["8080/tcp"]
    assert settings["Entrypoint"][:2] == ["/opt/edgehone/start", "--model"]
    assert settings["Labels"]["io.edgehone.server"] == "llama-server"
    needed = settings["Labels"]["io.edgehone.cpu"].split(",")
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    assert needed and set(needed) <= set(flags)
    assert [one["comment"] for one in image.config["history"]] == ["base image", "llama.cpp", "bundle"]
    names = [name for name in files if files.entry(name).isfile()]
    programs = {one.rpartition("/")[2] for one in names if "bin/" in one or one.startswith("opt/")}
    assert "llama-server" in programs and not [one for one in programs if "python" in one or one == "sh"]
    assert not [one for one in names if one.startswith("usr/lib/python")]
    for package_name in ("libc6", "libstdc++6", "libgomp1"):
        assert files.resolve(f"usr/share/doc/{package_name}/copyright"), package_name
    assert "opt/llama.cpp/LICENSE" in names
    documents = {f"bundles/text/{one}" for one in ("manifest.json", "decision.json")}
    assert documents <= set(names)
    carried = verify_package(package).package.carried
    assert len(carried) == sum(one.is_file() for one in bundle.rglob("*"))
    bom = (package / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom) is None
    components = {one["name"] for one in json.loads(bom)["components"]}
    assert {"libc6", "libgomp1", "libstdc++6", "llama.cpp", "edgehone-start"} <= components
    assert not {"edgehone", "python3.11-minimal"} & components
    assert sum(one["size"] for one in image.manifest["layers"][:-1]) < 12e6


def test_another_storage_gives_the_same_bytes(
    bundle_of: Make, tmp_path: Path, real_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of("llamacpp")
    first = pack_image(bundle, tmp_path / "first", **PLAIN)
    (tmp_path / "home").mkdir()
    for part in ("envs", "toolchains", "logs"):
        (tmp_path / "home" / part).symlink_to((real_home / part).resolve())
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "home"))
    second = pack_image(bundle, tmp_path / "second", **PLAIN)
    assert contents(second.path) == contents(first.path)


def test_a_damaged_model_is_noticed(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("llamacpp")
    model = bundle / "artifact" / "model.gguf"
    content = bytearray(model.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + len(content) // 4)
    content[middle] = bytes(reversed(content[middle]))
    model.write_bytes(content)
    list_again(bundle)
    with pytest.raises(SetupError, match=r"the proven answers: \d+ of the 48 tokens of the canaries differ"):
        pack_image(bundle, tmp_path / "package", **PLAIN)
    assert not (tmp_path / "package").exists()


def test_a_processor_without_the_instructions_is_refused(bundle_of: Make, tmp_path: Path) -> None:
    packed = pack_image(bundle_of("llamacpp"), tmp_path / "package", **PLAIN)
    other = tmp_path / "cpuinfo"
    other.write_text("processor\t: 0\nflags\t\t: fpu sse2\n")
    other.chmod(0o644)
    with started(packed.path, "--volume", f"{other}:/proc/cpuinfo:ro", ready=False) as container:
        done = subprocess.run(
            [*container.podman, "wait", container.name], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "2"
        assert "error: this processor lacks " in container.log() and "avx" in container.log()


def test_a_bundle_that_drafts_is_served_so(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    bundle = bundle_of("llamacpp", "", {"prompt_lookup": 3})
    packed = pack_image(bundle, tmp_path / "package", **PLAIN)
    words = read_image(packed.path / "image").config["config"]["Entrypoint"]
    assert {"--spec-type", "ngram-simple"} <= set(words)
    (proof,) = (one for one in packed.checks if one.name == "the proven answers")
    assert proof.outcome == "passed"


def test_a_base_that_the_user_names(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("llamacpp")
    podman()
    ours = base_of(store(), None, "amd64", plain_server.needs({}), lambda text: None)
    assert (ours.python, ours.version) == ("", "")
    store().write(ours.image, tmp_path / "base", "base")
    named = f"oci:{tmp_path / 'base'}@{read_image(tmp_path / 'base').digest}"
    packed = pack_image(bundle, tmp_path / "package", base=named, **PLAIN)
    assert {one.outcome for one in packed.checks} == {"passed"}, packed.checks
    labels = read_image(packed.path / "image").config["config"]["Labels"]
    assert labels["org.opencontainers.image.base.digest"] == named.partition("@")[2]
    libraries = {"usr/lib/x86_64-linux-gnu/libgomp.so.1": b""}
    old = {**GOOD, **libraries, "usr/lib/x86_64-linux-gnu/libc.so.6": LIBC.replace(b"2.31", b"2.17")}
    with pytest.raises(InputError, match=r"has glibc 2\.17; llama.cpp needs 2\.\d+"):
        pack_image(bundle, tmp_path / "old", base=base_image(tmp_path / "old-base", old), **PLAIN)
    empty = {**GOOD, **libraries, "usr/lib/x86_64-linux-gnu/libc.so.6": LIBC.replace(b"2.31", b"2.99")}
    with pytest.raises(InputError, match="lacks what llama-server needs"):
        pack_image(bundle, tmp_path / "empty", base=base_image(tmp_path / "empty-base", empty), **PLAIN)


def test_the_containerfile_builds_the_same_files(bundle_of: Make, tmp_path: Path) -> None:
    bundle = bundle_of("llamacpp")
    packed = pack_image(bundle, tmp_path / "package", **PLAIN)
    built = built_by_containerfile(packed.path, bundle, tmp_path)
    ours, theirs = _files(packed.path / "image"), _files(built)
    # Buildah leaves an empty file for each file that it mounts in a step.
    assert set(theirs) - {"etc/hosts", "etc/resolv.conf"} == set(ours)
    assert [name for name in ours if theirs[name] != ours[name]] == []
    settings: list[Any] = [
        read_image(place).config["config"] for place in (packed.path / "image", tmp_path / "built")
    ]
    for key in ("Entrypoint", "User", "StopSignal", "WorkingDir"):
        assert settings[1][key] == settings[0][key]
    assert settings[1]["Labels"].items() >= settings[0]["Labels"].items()


def test_an_image_for_arm64_answers_as_here(bundle_of: Make, tmp_path: Path) -> None:
    arm64_image.needs()
    program("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    bundle = _with_one_thread(bundle_of("llamacpp"))
    packed = pack_image(bundle, tmp_path / "package", arch="arm64", **PLAIN)
    assert [one.outcome for one in packed.checks] == ["passed", "skipped"]
    assert "were never compared" in (packed.path / "README.md").read_text()
    canary = edgehone.read(bundle).manifest.canaries[0]
    with arm64_image.started(packed.path, tmp_path, READY) as served:
        asked = {"prompt": canary["prompt"], "n_predict": 8, "temperature": 0, "return_tokens": True}
        told = httpx.post(f"{served.url}/completion", json=asked, timeout=arm64_image.PATIENCE)
        assert told.status_code == 200, told.text
        assert told.json()["tokens"] == list(canary["answer"])[:8]
        assert served.end() == 0
