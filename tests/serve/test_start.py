"""What a server refuses to start with: a clear error, exit code 2, and the next command."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from edgehone.bundle.schema import text_of
from edgehone.cli.main import main
from edgehone.serve.state import state_folder
from tests.finished import Finished, list_again


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["serve", *map(str, words)]) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err and "next:" in told.err
    return told.err


def change(bundle: Path, **fields: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields, "digest": ""}))
    list_again(bundle)


@pytest.fixture
def untouched(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that no process is started for, and that is not read: what is wrong elsewhere is told before."""

    def fail(*words: object) -> None:
        raise AssertionError(f"too early: {words}")

    for name in ("edgehone.execution.service._child", "edgehone.serve.models.read_served"):
        monkeypatch.setattr(name, fail)
    return finished.bundle


@pytest.mark.usefixtures("finished")
def test_bundles_that_are_not_served(
    spoiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such bundle" in refused(capsys, tmp_path / "none", "--port", 0)
    change(spoiled, approved=False)
    assert "is not approved" in refused(capsys, spoiled, "--port", 0)
    change(spoiled, approved=True, canaries=[])
    assert "has no canaries" in refused(capsys, spoiled, "--port", 0)


@pytest.mark.usefixtures("finished")
def test_a_changed_bundle(spoiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = next(path for path in (spoiled / "artifact").iterdir() if path.is_file())
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert file.name in refused(capsys, spoiled, "--port", 0)
    file.unlink()
    assert file.name in refused(capsys, spoiled, "--port", 0)


@pytest.mark.usefixtures("finished")
def test_foreign_bundles(spoiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    assert "manifest.json" in refused(capsys, model, "--port", 0)
    recipe = json.loads((spoiled / "manifest.json").read_text())["recipe"]
    change(spoiled, recipe={**recipe, "backend": "tensorrt"})
    assert "tensorrt" in refused(capsys, spoiled, "--port", 0)
    change(spoiled, recipe=recipe)
    manifest = json.loads((spoiled / "manifest.json").read_text())
    (spoiled / "manifest.json").write_text(text_of({**manifest, "schema": 1000}))
    assert "has schema 1000" in refused(capsys, spoiled, "--port", 0)


@pytest.mark.usefixtures("finished")
def test_half_a_bundle(spoiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = spoiled / "manifest.json"
    whole = manifest.read_bytes()
    for part in (whole[: len(whole) // 2], b"", b"{}"):
        manifest.write_bytes(part)
        assert "manifest.json" in refused(capsys, spoiled, "--port", 0)
    manifest.write_bytes(whole)
    shutil.rmtree(spoiled / "artifact")
    assert "artifact" in refused(capsys, spoiled, "--port", 0)


def test_two_bundles_of_one_name(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(finished.bundle, tmp_path / finished.bundle.name)
    assert "have the same name" in refused(capsys, finished.bundle, other, "--port", 0)


def test_a_port_in_use(untouched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1 port {port}" in refused(capsys, untouched, "--port", port)
    assert "--port is 70000" in refused(capsys, untouched, "--port", 70000)


def test_files_of_keys(untouched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys"
    assert "cannot be read" in refused(capsys, untouched, "--api-key-file", keys)
    keys.write_text("secret\n")
    keys.chmod(0o644)
    told = refused(capsys, untouched, "--api-key-file", keys)
    assert "can be read by others" in told and f"chmod 600 {keys}" in told and "secret" not in told
    keys.write_text("\n# nothing\n")
    keys.chmod(0o600)
    assert "has no key" in refused(capsys, untouched, "--api-key-file", keys)
    assert "has no key" in refused(capsys, untouched, "--admin-key-file", keys)
    missing = keys.with_name("none")
    assert str(missing) in refused(
        capsys, untouched, "--state", tmp_path / "state", "--keep-samples", 8, "--samples-key-file", missing
    )


def test_certificates(untouched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=localhost",
             "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt"], check=True, capture_output=True,
        )  # fmt: skip
    own, other = tmp_path / "a.crt", tmp_path / "b.key"
    assert "belong together" in refused(capsys, untouched, "--tls-cert", own)
    assert "are not a certificate and its private key" in refused(
        capsys, untouched, "--tls-cert", own, "--tls-key", other
    )


@pytest.mark.parametrize(
    ("words", "said"), [(("--parallel", "0"), "--parallel"), (("--max-queue", "-1"), "--max-queue")]
)
def test_numbers(
    finished: Finished, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, finished.bundle, *words)


def test_files_of_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "serve.toml"
    assert "cannot be read" in refused(capsys, "--config", file)
    for text, told in (
        ("port = ", "cannot be read"),
        ("prot = 1", "did you mean 'port'?"),
        ("port = 'x'", "Expected `int`"),
        ("port = 70000", "--port is 70000"),
        ("unload_after = 0", "--unload-after is 0"),
        ("[bundles.a]\npath = 'b'\nparalel = 1", "did you mean 'parallel'?"),
        ("[bundles.a]\npath = 'b'\nparallel = 0", "bundles.a.parallel is 0"),
        ("[bundles.'a/b']\npath = 'b'", "give a name without a slash"),
        ("[bundles.a]\nparallel = 1", "missing required field `path`"),
        ("[bundles.a]\npath = 'b'", f"no such bundle: {tmp_path / 'b'}"),
        ("tls_cert = 'c'", "--tls-cert and --tls-key belong together"),
        ("port = 0", "no bundle is given"),
    ):
        file.write_text(text)
        assert told in refused(capsys, "--config", file)
    file.write_text("parallel = 0")
    # The command line comes first.
    assert "no bundle is given" in refused(capsys, "--config", file, "--parallel", 3)


def test_folders_for_the_state(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, finished.bundle, "--port", 0, "--state", tmp_path / "file")
    with state_folder(str(tmp_path / "own" / "state")) as state:
        assert state.stat().st_mode & 0o777 == 0o700
        told = refused(capsys, finished.bundle, "--port", 0, "--state", state)
        assert "another server keeps its state" in told and "--state DIR" in told
    with state_folder(str(state)), state_folder(None) as temporary:
        assert temporary.is_dir() and temporary != state
    assert not temporary.exists() and state.is_dir()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('tenant_header = "X Tenant"', "no name of a header"),
        ('route_header = ""', "no name of a header"),
        ("most_callers = 0", "most_callers is 0"),
        ("confidence_every = -1", "confidence_every is -1"),
        ("price_per_engine_second = -0.1", "price_per_engine_second is -0.1"),
        ('otlp = "collector:4318"', "--otlp is 'collector:4318'"),
        ("price_per_1000_token = 1", "price_per_1000_tokens"),
    ],
)
def test_settings_of_what_is_measured(
    text: str, told: str, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "serve.toml").write_text(text)
    assert told.replace("_", "-") in refused(
        capsys, finished.bundle, "--port", 0, "--config", tmp_path / "serve.toml"
    ).replace("_", "-")
