"""Images of llama-server alone, without a container: what is refused, their options, and their first process."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.conformance import tiny_gguf
from edgehone.core.errors import InputError, SetupError
from edgehone.package import llama_client, registry
from edgehone.package.target import Request
from edgehone.package.targets.container import plain_server, proven
from edgehone.package.targets.container.base import MACHINES, Base, base_of, runs_here
from edgehone.package.targets.container.buildah import Store
from edgehone.package.targets.container.containerfile import build_files
from edgehone.package.targets.container.image import Final
from edgehone.package.write import Order, pack
from edgehone.serve.proof import Proof
from tests.package.containers import base_image, without
from tests.package.mobile import bundle_with
from tests.package.test_container import GOOD
from tests.serve.server import wait_for

SOURCE = Path(plain_server.__file__).with_name("start.c")
CANARY = {"prompt": [1, 2], "answer": [3, 4, 5]}
Make = Callable[..., Path]


@pytest.fixture
def made(spoiled: Path, tmp_path: Path) -> Make:
    """Return a bundle with files that stand for an artifact of llama.cpp, settings, and canaries."""

    def make(
        *more: str, backend: str = "llamacpp", canaries: Sequence[Any] = (CANARY,), **settings: Any
    ) -> Path:
        gguf = tiny_gguf.write(tmp_path / "tiny.gguf").read_bytes()
        bundle_with(spoiled, backend, dict.fromkeys(("model.gguf", *more), gguf), **settings)
        manifest = replace(edgehone.read(spoiled).manifest, canaries=tuple(canaries))
        (spoiled / MANIFEST).write_text(text_of(manifest.to_json()), "utf-8")
        return spoiled

    return make


def _pack(bundle: Path, out: Path, **options: str) -> None:
    order = Order(registry.load("container"), out, {"server": "llama-server", **options}, unapproved=True)
    pack(bundle, order)


@pytest.mark.parametrize(
    ("changed", "options", "problem", "hint"),
    [
        (
            {"backend": "openvino"},
            {},
            "loads GGUF files of language models.* of openvino",
            "edgehone serves it",
        ),
        ({}, {"key": "signing.pub"}, "nothing in the image verifies that", "edgehone verify PACKAGE --key"),
        ({}, {"device": "gpu"}, "device=gpu keeps OpenVINO's plugins", "leave out --set device"),
        ({}, {"cpu": "armv8-a", "toolchain": "x"}, "cpu says for what", "give one of the two"),
        (
            {"canaries": ({**CANARY, "picture": "disc.png", "at": 1},)},
            {},
            "no canary of text",
            "reproduce.sh",
        ),
    ],
)
def test_what_llama_server_alone_cannot_have_is_refused(
    changed: Mapping[str, Any], options: dict[str, str], problem: str, hint: str, made: Make, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=problem) as error:
        _pack(made(**changed), tmp_path / "out", **options)
    assert hint in (error.value.hint or "") and not (tmp_path / "out").exists()


def test_without_podman_nothing_could_compare_the_answers(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", without("podman", tmp_path / "bin"))
    with pytest.raises(SetupError, match="podman is not installed") as error:
        _pack(made(), tmp_path / "out")
    assert error.value.hint == "apt install podman runc"


def _request(bundle: Path, scratch: Path) -> Request:
    options = {"server": "llama-server", "arch": "amd64", "device": "cpu"}
    return Request(edgehone.read(bundle), options, 0, scratch, lambda text: None)


def test_llama_server_gets_the_settings_of_the_recipe_by_whole_paths(made: Make, tmp_path: Path) -> None:
    bundle = made("draft.gguf", "mmproj.gguf", kv_cache="q8_0", threads=3, decode_threads=2, draft=4)
    words = plain_server.command(_request(bundle, tmp_path), "/bundles/tiny", "tiny")
    told = " ".join(words)
    assert words[:3] == ["/opt/edgehone/start", "--model", "/bundles/tiny/artifact/model.gguf"]
    for part in (
        "--alias tiny", "--host 0.0.0.0", "--port 8080", "--cache-type-k q8_0", "--threads 2", "--threads-batch 3",
        "--model-draft /bundles/tiny/artifact/draft.gguf", "--spec-draft-n-max 4", "--device none", "--cache-ram 0",
        "--mmproj /bundles/tiny/artifact/mmproj.gguf", "--ctx-size",
    ):  # fmt: skip
        assert part in told
    plain = plain_server.command(_request(made(), tmp_path), "/bundles/tiny", "tiny")
    assert not {"--threads", "--model-draft", "--mmproj"} & {*plain}


def test_the_notes_say_what_such_an_image_does_not_do(made: Make, tmp_path: Path) -> None:
    request = _request(made(), tmp_path)
    notes = " ".join(plain_server.notes(request))
    for what in (
        "neither files nor signatures",
        "admission control",
        "kubernetes",
        "when the package was made",
    ):
        assert what in notes
    other = next(arch for arch in MACHINES if not runs_here(arch))
    foreign = replace(request, options={**request.options, "arch": other})
    assert "never compared" in " ".join(plain_server.notes(foreign))
    assert "never compared" in plain_server.readme_values(foreign, "tiny")["compared"]


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("usr/lib/x86_64-linux-gnu/libgomp.so.1", "lacks libgomp.so.1"),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", "no glibc"),
    ],
)
def test_a_base_without_the_libraries_is_refused_and_python_is_not_asked_for(
    missing: str, problem: str, tmp_path: Path
) -> None:
    files = {name: content for name, content in GOOD.items() if "python" not in name and "libz" not in name}
    files["usr/lib/x86_64-linux-gnu/libgomp.so.1"] = b""
    del files[missing]
    named = base_image(tmp_path / "base", files)
    with pytest.raises(InputError, match=problem) as error:
        base_of(Store(tmp_path / "store"), named, "amd64", plain_server.needs({}), lambda text: None)
    assert "Python" not in (error.value.hint or "Python")


def test_a_containerfile_over_a_base_of_the_user_needs_no_builder(made: Make, tmp_path: Path) -> None:
    base = Base("localhost/x:1", "", "", (2, 36), (), f"registry.example/base@sha256:{'0' * 64}")
    request = _request(made(), tmp_path)
    (tmp_path / "tree" / "opt" / "edgehone").mkdir(parents=True)
    (tmp_path / "program").mkdir()
    final = Final(tmp_path / "tree", ["/opt/edgehone/start", "--port", "8080"], {"HOME": "/tmp"}, {}, 0)
    steps = plain_server.steps(base, request)
    build_files(tmp_path / "build", base, steps, final, tmp_path / "program", "tiny", plain_server.PROBE)
    text = (tmp_path / "build" / "Containerfile").read_text()
    assert "FROM ${BASE}" in text and "BUILDER" not in text and "pip" not in text
    assert 'ENTRYPOINT ["/opt/edgehone/start", "--port", "8080"]' in text
    assert 'CMD ["/opt/edgehone/start", "probe"]' in text


@pytest.mark.parametrize(
    ("answers", "held"),
    [([[3, 4, 5]], True), ([[3, 9, 5], [5]], False), (["llama-server answered 500: x"], None)],
)
def test_other_answers_than_the_proven_ones_are_noticed(
    answers: list[Any], held: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(answers)
    monkeypatch.setattr(llama_client, "completion", lambda address, prompt, count: next(left))
    found = proven._prove(tmp_path / "socket", [CANARY])
    assert (found.holds if isinstance(found, Proof) else None) is held
    assert next(left, None) is None


def _first(folder: Path, server: str, *flags: str, cpu: str = "") -> Path:
    """Compile the first process for a server that is a script."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("not installed: gcc")
    script, program = folder / "server", folder / "start"
    script.write_text(f"#!/bin/sh\n{server}\n")
    script.chmod(0o755)
    words = [f'-DFEATURES="{cpu}"', f'-DSERVER="{script}"', *flags]
    subprocess.run([compiler, "-Wall", "-Werror", *words, "-o", program, SOURCE], check=True)
    return program


def test_a_processor_without_the_instructions_is_refused_by_their_names(tmp_path: Path) -> None:
    line = Path("/proc/cpuinfo").read_text()
    have = (
        next(one for one in line.splitlines() if one.startswith(("flags", "Features")))
        .partition(":")[2]
        .split()
    )
    # A part of a name is another instruction set.
    lacking = next(one[:-1] for one in have if one[:-1] and one[:-1] not in have)
    program = _first(tmp_path, "echo started", cpu=f"{have[0]} {lacking} no_such {have[-1]}")
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: this processor lacks {lacking}, no_such, which" in done.stderr
    program = _first(tmp_path, "echo $*", cpu=" ".join(have))
    done = subprocess.run([program, "a", "b"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "a b\n")


@pytest.mark.parametrize(("server", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_the_exit_code_is_that_of_the_server(server: str, code: int, tmp_path: Path) -> None:
    assert subprocess.run([_first(tmp_path, server)], capture_output=True, check=False).returncode == code


def test_a_server_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    program = _first(tmp_path, "exit 0")
    (tmp_path / "server").unlink()
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert f"error: cannot run {tmp_path / 'server'}: No such file or directory" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("server", "code"),
    [
        ("touch begun; exec sleep 60", 0),  # it does not handle the signal yet
        ("trap 'touch ended; exit 0' TERM; touch begun; while :; do sleep 0.05; done", 0),
        ("trap 'exit 5' TERM; touch begun; while :; do sleep 0.05; done", 5),
        ("trap '' TERM; touch begun; while :; do sleep 0.05; done", 0),  # it is killed
    ],
)
def test_a_signal_ends_the_server(server: str, code: int, number: signal.Signals, tmp_path: Path) -> None:
    grace = 100 if "''" in server else 60_000
    child = subprocess.Popen([_first(tmp_path, server, f"-DGRACE_MS={grace}")], cwd=tmp_path)
    wait_for((tmp_path / "begun").exists)
    child.send_signal(number)
    assert child.wait(30) == code
    assert (tmp_path / "ended").exists() is ("ended" in server)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 1)])
def test_a_probe_asks_for_health(status: int | None, code: int, tmp_path: Path) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if status and self.path == "/health" else 404)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        program = _first(tmp_path, "exit 0", f"-DPORT={server.server_port}")
        thread = threading.Thread(target=server.handle_request)
        if status:
            thread.start()
        else:
            server.server_close()
        done = subprocess.run([program, "probe"], capture_output=True, text=True, timeout=30, check=False)
        if status:
            thread.join()
    assert done.returncode == code, done.stderr
    assert bool(done.stderr) is bool(code)
