"""A real OCI registry over TLS, and one whose connections break: docker-registry behind a proxy that cuts them."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.core.errors import EdgehoneError
from edgehone.registry.push import push
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, open_registry
from edgehone.registry.verify import verify
from tests.registry.bundles import Make, content, weights
from tests.registry.misbehaviour import IMPATIENT, QUICK
from tests.registry.servers import oci_registry, program

# docker-registry 2.8 gives an upload up whose request broke, so that it begins anew; other registries go on with it.
PATIENT = replace(QUICK, attempts=6)
pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("oci")]


class Proxy:
    """Forwards connections to a server. The next `cuts` ones are reset after `after` bytes in either direction."""

    def __init__(self, host: str) -> None:
        name, _, port = host.partition(":")
        self._target = (name, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self.after = 0
        self.made = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self.made += 1
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                target.sendall(data)
                if self.cuts and passed > self.after:
                    self.cuts -= 1
                    break
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(docker: str) -> Iterator[Proxy]:
    """A proxy before docker-registry."""
    one = Proxy(docker)
    yield one
    one.close()


def test_transfers_survive_broken_connections(
    registry: Registry, make: Make, proxy: Proxy, tmp_path: Path
) -> None:
    bundle = make(weights(7, 6 << 20))
    version = push(registry, bundle, name="demo", by="ann").version
    url = f"oci://{proxy.host}/broken/demo:1"
    proxy.cuts, proxy.after = 3, 2_500_000
    push_to(registry, version, url, by="ann", limits=PATIENT)
    assert proxy.cuts == 0 and proxy.made >= 4
    proxy.cuts, proxy.after = 3, 1_500_000
    elsewhere = open_registry(str(tmp_path / "elsewhere"))
    received = pull_from(elsewhere, url, out=tmp_path / "out", by="bob", limits=PATIENT)
    assert proxy.cuts == 0 and received.transferred <= received.size
    assert content(tmp_path / "out") == content(bundle) and verify(elsewhere).problems == ()


def make_certificate(place: Path) -> Path:
    """Make a certificate of localhost, signed by itself."""
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += [
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        str(place / "tls.key"),
        "-out",
        str(place / "tls.crt"),
    ]
    subprocess.run([program("openssl", "openssl"), *words], check=True, capture_output=True)
    return place / "tls.crt"


@contextmanager
def encrypted(place: Path) -> Iterator[tuple[str, Path]]:
    """Run docker-registry with TLS; gives its address and certificate."""
    place.mkdir()
    certificate = make_certificate(place)
    settings = f"  tls: {{certificate: {certificate}, key: {place / 'tls.key'}}}\n"
    with oci_registry(place, settings) as host:
        yield f"oci+https://localhost:{host.rpartition(':')[2]}/secure/demo:1", certificate


def test_a_registry_over_tls(
    registry: Registry, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = push(registry, make(weights(8)), name="demo", by="ann").version
    with encrypted(tmp_path / "docker") as (url, certificate):
        with pytest.raises(EdgehoneError, match=r"(?i)certificate verify failed") as caught:
            push_to(registry, version, url, by="ann", limits=QUICK)
        assert caught.value.exit_code == 2
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        push_to(registry, version, url, by="ann")
        elsewhere = open_registry(str(tmp_path / "elsewhere"))
        assert pull_from(elsewhere, url, by="bob").version.digest == version.digest


def test_a_silent_registry_over_tls_is_given_up(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssl
    import time

    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, tmp_path / "tls.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with suppress(OSError):
                connection = context.wrap_socket(listener.accept()[0], server_side=True)
                while True:
                    connection.sendall(b"X")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(EdgehoneError, match=r"too slow|broke"):
            pull_from(
                registry, f"oci+https://localhost:{listener.getsockname()[1]}/a:1", by="bob", limits=IMPATIENT
            )
