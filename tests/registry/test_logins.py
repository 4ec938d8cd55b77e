"""Logins to OCI registries: used where they are asked for, and told to nobody else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import EdgehoneError
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, Version
from tests.registry.fake import Fake, fake_registry
from tests.registry.misbehaviour import QUICK, elsewhere, fake, refused, shared, version

__all__ = ["elsewhere", "fake", "shared", "version"]  # fixtures
pytestmark = pytest.mark.whole


def login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, password: str = "open sesame") -> None:
    auth = base64.b64encode(f"ann:{password}".encode()).decode()
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))


def guarded(kind_of_login: str) -> Callable[[Any, str], bool]:
    """Answer requests without the right login as registries do; the token service is the registry itself."""
    expected = base64.b64encode(b"ann:open sesame").decode()

    def check(handler: Any, kind: str) -> bool:
        given = handler.headers.get("Authorization", "")
        if handler.path.startswith("/token"):
            right = given == f"Basic {expected}"
            handler.answer(200 if right else 401, b'{"token":"a-token"}' if right else b"{}")
            return True
        wanted = f"Basic {expected}" if kind_of_login == "basic" else "Bearer a-token"
        if given == wanted:
            return False
        realm = f"http://{handler.server.host}/token"
        challenge = (
            'Basic realm="x"'
            if kind_of_login == "basic"
            else f'Bearer realm="{realm}",service="s",scope="pull"'
        )
        if handler.command in ("PATCH", "PUT", "POST"):
            handler.close_connection = True
        handler.answer(401, WWW_Authenticate=challenge)
        return True

    return check


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_logins(
    elsewhere: Registry,
    shared: str,
    registry: Registry,
    version: Version,
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    fake.misbehave = guarded(kind)
    assert "needs a login" in refused(elsewhere, shared, tmp_path / "out").message
    login(monkeypatch, tmp_path, fake.host, "wrong")
    assert (
        "answered 401" in (error := refused(elsewhere, shared, tmp_path / "out").message)
        or "refused" in error
    )
    login(monkeypatch, tmp_path, fake.host)
    pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    push_to(registry, version, f"oci://{fake.host}/models/demo:2", by="ann", limits=QUICK)
    (tmp_path / "auth.json").write_text("{")
    with pytest.raises(EdgehoneError, match=r"auth\.json .* cannot be read"):
        pull_from(elsewhere, shared, by="bob", limits=QUICK)


def test_a_login_is_not_sent_to_another_host(
    elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(monkeypatch, tmp_path, fake.host)
    guard = guarded("basic")
    with fake_registry() as other:
        other.blobs = fake.blobs

        def redirect(handler: Any, kind: str) -> bool:
            if guard(handler, kind):
                return True
            if kind == "blob":
                handler.answer(307, Location=f"http://localhost:{other.server_address[1]}{handler.path}")
            return kind == "blob"

        fake.misbehave = redirect
        pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
        assert other.headers and not any("Authorization" in headers for headers in other.headers)


def test_a_token_service_without_encryption_gets_no_password(
    elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(monkeypatch, tmp_path, fake.host)

    def elsewhere_token(handler: Any, kind: str) -> bool:
        handler.answer(401, WWW_Authenticate='Bearer realm="http://tokens.example/token",service="s"')
        return True

    fake.misbehave = elsewhere_token
    assert "not HTTPS" in refused(elsewhere, shared, tmp_path / "out").message
