"""Exporting to MLflow's model registry, proven with a real MLflow and its own client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import uv

from edgehone.cli.main import main
from edgehone.core.errors import EdgehoneError
from edgehone.registry import aliases
from edgehone.registry.mlflow import export
from edgehone.registry.names import Reference
from edgehone.registry.push import push
from edgehone.registry.session import Registry
from tests.ports import free_port
from tests.registry.bundles import Make, content, weights

# Reads the exported version as a user of MLflow does.
READ = """
import json, sys
import mlflow
uri, name, folder = sys.argv[1:]
mlflow.set_tracking_uri(uri)
client = mlflow.MlflowClient()
version = client.get_model_version_by_alias(name, "production")
run = client.get_run(version.run_id)
mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}@production", dst_path=folder)
found = client.search_model_versions(f"name='{name}'")
print(json.dumps({
    "version": version.version, "tags": version.tags, "metrics": run.data.metrics, "params": run.data.params,
    "status": run.info.status, "versions": len(found),
}))
"""


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of an MLflow server, and the interpreter that has MLflow installed."""
    place = tmp_path_factory.mktemp("mlflow")
    python = place / "env" / "bin" / "python"
    for words in (
        ["venv", "--python", sys.executable, str(place / "env")],
        ["pip", "install", "--python", str(python), "mlflow"],
    ):
        subprocess.run([uv.find_uv_bin(), *words, "--quiet"], check=True)
    port = free_port()
    command = [
        str(python),
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{place}/mlflow.sqlite"]
    command += ["--artifacts-destination", str(place / "artifacts")]
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=place, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, place / "log")
        yield f"http://127.0.0.1:{port}", python
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


@pytest.mark.long
def test_a_version_in_a_real_mlflow(
    registry: Registry,
    make: Make,
    mlflow: tuple[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, python = mlflow
    bundle = make(weights(1))
    version = push(registry, bundle, name="kitchen/demo", by="ann").version
    aliases.move(registry, "production", Reference("kitchen/demo", number=1), by="ann", why="ok")
    words = ["kitchen/demo", "--to", f"mlflow+{address}", "--registry", str(registry.blobs.folder)]
    assert main(["registry", "push", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["to"]
    assert (told["name"], told["version"], told["new"], told["aliases"]) == (
        "kitchen.demo",
        "1",
        True,
        ["production"],
    )
    read = [str(python), "-c", READ, address, "kitchen.demo", str(tmp_path / "out")]
    done = subprocess.run(read, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tags"]["edgehone.digest"] == version.digest and found["tags"]["edgehone.approval"] == "yes"
    decision = json.loads((bundle / "decision.json").read_text())
    figures = next(one for one in decision["candidates"] if one["key"] == decision["chosen"])["figures"]
    assert found["metrics"]["speedup"] == figures["speedup"]["value"]
    assert found["metrics"]["speedup.low"] == figures["speedup"]["low"]
    assert found["params"]["candidate"] == decision["chosen"] and found["status"] == "FINISHED"
    assert content(tmp_path / "out") == content(bundle)
    again = export(registry, version, f"mlflow+{address}", by="ann")
    assert not again.new and again.version == "1"
    second = push(registry, make(weights(2)), name="kitchen/demo", by="ann").version
    assert export(registry, second, f"mlflow+{address}/kitchen.demo", by="ann").version == "2"


class _Html(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


def test_what_is_not_an_mlflow_server(registry: Registry, make: Make) -> None:
    version = push(registry, make(), name="demo", by="ann").version
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Html)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        for url, what in {
            f"mlflow+http://127.0.0.1:{server.server_address[1]}": "is not an MLflow server",
            f"mlflow+http://127.0.0.1:{free_port()}": "cannot be used",
            "mlflow+ftp://host": "is not the address of an MLflow server",
            "mlflow+http://": "is not the address",
        }.items():
            with pytest.raises(EdgehoneError, match=what) as caught:
                export(registry, version, url, by="ann")
            assert caught.value.exit_code == 2 and caught.value.hint
    finally:
        server.shutdown()
        server.server_close()
