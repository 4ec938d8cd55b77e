"""HTTPS, keys, and a server of an ordinary user on a disk that it cannot write."""

from __future__ import annotations

import io
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from edgehone.cli.main import main
from edgehone.execution import service
from edgehone.execution.environments.environment import Env
from edgehone.execution.job import Job
from tests.finished import Finished
from tests.serve.conftest import with_template
from tests.serve.server import Server, running, wait_for

pytestmark = pytest.mark.whole
KEYS = ("first-key-of-this-test", "second-key-of-this-test")
ASKED = {"model": "bundle", "prompt": "To the ", "max_tokens": 3}


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, and its key."""
    paths = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=edgehone", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


@pytest.fixture(scope="module")
def secured(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server with HTTPS and two keys, and the file of all that it prints."""
    folder = tmp_path_factory.mktemp("secured")
    cert, key = certificate(folder)
    (folder / "keys").write_text(f"# of the test\n{KEYS[0]}\n\n{KEYS[1]}\n")
    (folder / "keys").chmod(0o600)
    words = ("--api-key-file", str(folder / "keys"), "--tls-cert", str(cert), "--tls-key", str(key))
    trusted, log = ssl.create_default_context(cafile=cert), folder / "log"
    env = {"EDGEHONE_HOME": str(_finished.home)}
    bundle = with_template(Path(shutil.copytree(_finished.bundle, folder / "bundle")))
    with running(bundle, *words, env=env, trusted=trusted, log=log) as server:
        assert server.url.startswith("https://127.0.0.1:")
        yield server, log


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_https_is_for_who_trusts_the_certificate(secured: tuple[Server, Path]) -> None:
    server, _ = secured
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{server.url}/healthz")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server.url.replace('https', 'http')}/healthz")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2
    assert httpx.get(f"{server.url}/healthz", verify=old).status_code == 200
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError, match=r"EOF|ALERT"):
        httpx.get(f"{server.url}/healthz", verify=old)
    assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_accepted(secured: tuple[Server, Path], key: str) -> None:
    server, _ = secured
    for scheme in ("Bearer", "bearer"):
        answer = server.post("/v1/completions", ASKED, headers={"Authorization": f"{scheme} {key}"})
        assert answer.status_code == 200 and answer.json()["choices"][0]["text"] == "the"


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer wrong", f"Basic {KEYS[0]}", KEYS[0], f"Bearer {KEYS[0]}x",
     f"Bearer {KEYS[0][:-1]}", f"Bearer {KEYS[0]},{KEYS[1]}", "Bearer # of the test", "Bearer é"],
)  # fmt: skip
def test_no_other_key_is(secured: tuple[Server, Path], given: str) -> None:
    server, _ = secured
    headers = [(b"authorization", given.encode())] if given else []
    for method, path in (("POST", "/v1/completions"), ("GET", "/v1/models"), ("GET", "/models.json")):
        answer = server.client.request(
            method, path, headers=headers, json=ASKED if method == "POST" else None
        )
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["type"] == "authentication_error"
        assert "first" not in answer.text and "wrong" not in answer.text


def test_a_conversation_over_https(
    secured: tuple[Server, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, log = secured
    monkeypatch.setenv("EDGEHONE_API_KEY", KEYS[1])
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    assert main(["chat", server.url]) == 2
    assert "certificate verify failed" in capsys.readouterr().err.replace("_", " ").lower()
    monkeypatch.setenv("SSL_CERT_FILE", str(log.with_name("cert.pem")))
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n"))
    assert main(["chat", server.url, "--json", "--max-tokens", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 3


def test_a_key_is_written_nowhere(
    _finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text(f"{KEYS[0]}\n")
    (tmp_path / "keys").chmod(0o600)
    log, temporary = tmp_path / "log", tmp_path / "tmp"
    temporary.mkdir()
    env = {"EDGEHONE_HOME": str(_finished.home), "TMPDIR": str(temporary)}
    with running(_finished.bundle, "--api-key-file", str(tmp_path / "keys"), env=env, log=log) as server:
        headers = {"Authorization": f"Bearer {KEYS[0]}"}
        texts = [
            server.post("/v1/completions", body, headers=headers).text
            for body in (ASKED, b"{", {**ASKED, "model": "none"}, {**ASKED, "n": 2})
        ]
        texts.append(server.client.get(f"/none/{KEYS[0][:3]}", headers=headers).text)
        texts += [server.client.get(path).text for path in ("/metrics", "/readyz", "/")]
        server.engine().kill()
        server.wait_until(False)
        texts += [path.read_text() for path in temporary.rglob("*") if path.is_file()]
        own = psutil.Process(server.process.pid)
        texts += [f"{one.cmdline()} {one.environ()}" for one in (own, *own.children(recursive=True))]
    texts.append(log.read_text())
    assert "the engine failed" in texts[-1] and len(texts) > 10
    assert not [text for text in texts if KEYS[0] in text]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": ""}, 200),
        ({"Host": "localhost:99"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "try.localhost:99"}, 200),
        ({"Host": "[::1]:99"}, 200),
        ({"Host": "192.168.0.7"}, 200),
        ({"Host": "evil.example:99"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "notlocalhost"}, 403),
        ({"Host": "[evil"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"}, 200),
        ({"Sec-Fetch-Site": "none", "Origin": "chrome-extension://abc"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:99"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:99"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[evil"}, 403),
    ],
)
def test_pages_of_other_sites_get_nothing_without_a_key(
    server: Server, headers: dict[str, str], status: int
) -> None:
    answer = server.post("/v1/completions", ASKED, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["error"]["type"] in ("permission_error", "invalid_request_error")


def test_a_host_that_is_none_is_an_error_of_the_client(server: Server) -> None:
    for path in ("/none", "/v2/none", "/v1/completions"):
        assert server.client.get(path, headers={"Host": "[evil"}).status_code in (404, 405)


def test_sigterm_does_not_wait_for_idle_clients_of_https(_finished: Finished, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    env = {"EDGEHONE_HOME": str(_finished.home)}
    trusted = ssl.create_default_context(cafile=cert)
    words = ("--tls-cert", str(cert), "--tls-key", str(key))
    # The pools of these clients keep their connections: one is idle, the other waits for its answer.
    with (
        running(_finished.bundle, *words, env=env, trusted=trusted) as server,
        ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=server.url, verify=trusted) as idle,
    ):
        assert idle.get("/healthz").status_code == 200
        answer = pool.submit(server.post, "/v1/completions", {**ASKED, "max_tokens": 400})
        wait_for(lambda: server.metric("edgehone_running_requests") > 0)
        begun = time.monotonic()
        assert server.end() == 0
        assert time.monotonic() - begun < 25  # asyncio would wait for the idle one for 30 s
        assert answer.result().json()["usage"]["completion_tokens"] == 400


def test_the_page_of_another_site_may_have_a_key(secured: tuple[Server, Path]) -> None:
    server, _ = secured
    foreign = {"Host": "kitchen.example", "Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}
    for key, status in ((KEYS[0], 200), ("wrong", 401)):
        headers = {**foreign, "Authorization": f"Bearer {key}"}
        assert server.post("/v1/completions", ASKED, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "anyone who can reach 0.0.0.0 can use the server: give --api-key-file"),
        (
            ["--host", "0.0.0.0", "--api-key-file", "keys"],
            "keys and texts are sent unencrypted: give --tls-cert",
        ),
        (["--host", "127.0.0.1"], ""),
    ],
)
def test_what_others_can_reach_is_told(
    finished: Finished, tmp_path: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("keys").write_text(KEYS[0])
    Path("keys").chmod(0o600)

    async def serve(*of_server: object) -> None: ...

    monkeypatch.setattr("edgehone.serve.server.serve", serve)
    assert main(["serve", str(finished.bundle), "--port", "0", *words]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert [said in line for line in warnings] == [True] if said else not warnings


def test_without_a_temporary_folder_it_does_not_start(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/none"])
    assert main(["serve", str(finished.bundle), "--port", "0"]) == 2
    told = capsys.readouterr().err
    assert "no temporary folder" in told and "export TMPDIR=" in told and "Traceback" not in told


# Starts a program as a user who may write nothing of root's, for tests that run as root.
AS_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")


@pytest.fixture
def given(_finished: Finished) -> Iterator[Path]:
    """A folder that cannot be written, with a bundle, an empty home, and tmp, which can be written."""
    folder = Path(tempfile.mkdtemp(prefix="edgehone-test-"))
    bundle = Path(shutil.copytree(_finished.bundle, folder / "bundle"))
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    for path in (*bundle.rglob("*"), bundle, folder / "home", folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has user namespaces")
def test_an_ordinary_user_on_a_disk_that_cannot_be_written(given: Path, tmp_path: Path) -> None:
    through = AS_USER if os.geteuid() == 0 else ()
    if subprocess.run([*through, "true"], check=False, capture_output=True).returncode:
        pytest.skip("the system allows no user namespaces")
    assert subprocess.run(
        [*through, "touch", given / "home" / "a"], check=False, capture_output=True
    ).returncode
    env = {"EDGEHONE_HOME": str(given / "home"), "HOME": "/nonexistent", "TMPDIR": str(given / "tmp")}
    with running(given / "bundle", env=env, through=through, log=tmp_path / "log") as server:
        assert server.complete("To the ", max_tokens=3)["choices"][0]["text"] == "the"
        # Without room for the files of another engine it says so, and goes on when there is some.
        (given / "tmp").chmod(0o555)
        server.engine().kill()
        wait_for(lambda: "Permission denied" in server.client.get("/readyz").text)
        (given / "tmp").chmod(0o755)
        server.wait_until(True)
        assert server.complete("To the ", max_tokens=3)["choices"][0]["text"] == "the"
    assert not list((given / "home").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="open descriptors are listed in /proc")
def test_a_service_that_cannot_be_started_leaves_nothing(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    env = Env("null", tmp_path / "no-python", None, "")
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    with pytest.raises(FileNotFoundError, match="no-python"):
        service.start(Job("edgehone.worker.engine:serve", env))
    assert not list(tmp_path.iterdir()) and len(list(descriptors.iterdir())) == before
