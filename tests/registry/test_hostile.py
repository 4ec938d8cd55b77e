"""OCI registries that are unreachable, slow, full, broken or hostile: a clear error, and nothing is half-written."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import EdgehoneError
from edgehone.registry.blobs import digest_of
from edgehone.registry.listing import versions
from edgehone.registry.modelpack import FILE_PATH
from edgehone.registry.push import push
from edgehone.registry.remote import referrers
from edgehone.registry.remote.address import parse
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.limits import Limits, shipped
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, Version, open_registry
from edgehone.registry.verify import verify
from tests.ports import free_port
from tests.registry.bundles import LARGE, Make, content, weights
from tests.registry.fake import Fake, fake_registry

pytestmark = pytest.mark.whole
# Few attempts with short pauses, and the shipped patience: a busy machine delays the answers of a registry that works.
QUICK = replace(shipped(), attempts=2, first_pause=0.01, segment_bytes=1 << 20)
# Limits of fractions of a second, only for registries that are too slow on purpose: tests that wait for them are short.
IMPATIENT = replace(QUICK, connect=1.0, idle=0.4, answer=0.8, confirm=0.8, least_bytes=4000)


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A registry that does as a test says."""
    with fake_registry() as one:
        yield one


@pytest.fixture
def version(registry: Registry, make: Make) -> Version:
    """A version with a large file, in the registry here."""
    return push(registry, make(weights(5)), name="demo", by="ann").version


@pytest.fixture
def shared(registry: Registry, version: Version, fake: Fake) -> str:
    """The address of the version in the fake registry."""
    url = f"oci://{fake.host}/models/demo:1"
    push_to(registry, version, url, by="ann", limits=QUICK)
    return url


@pytest.fixture
def elsewhere(tmp_path: Path) -> Registry:
    """The registry of another machine."""
    return open_registry(str(tmp_path / "elsewhere"))


def refused(elsewhere: Registry, url: str, out: Path, limits: Limits = QUICK) -> EdgehoneError:
    """Pull what cannot be pulled: an error of exit code 2 with a hint, in a bounded time, and nothing half-written."""
    begun = time.monotonic()
    before = set(out.parent.iterdir())
    with pytest.raises(EdgehoneError) as caught:
        pull_from(elsewhere, url, out=out, by="bob", limits=limits)
    assert time.monotonic() - begun < 8 or limits is not IMPATIENT
    assert caught.value.exit_code == 2 and caught.value.hint
    assert set(out.parent.iterdir()) == before
    assert versions(elsewhere) == [] and verify(elsewhere).problems == ()
    return caught.value


def cut_off(handler: Any) -> None:
    """End the connection at once: the handler's files keep a closed socket open."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def the_large(fake: Fake) -> str:
    return max(fake.blobs, key=lambda digest: len(fake.blobs[digest]))


def test_the_registry_in_memory_works(
    elsewhere: Registry, version: Version, shared: str, tmp_path: Path, fake: Fake
) -> None:
    received = pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert received.version.digest == version.digest and received.note is None
    assert not any(name.startswith("sha256-") for name in fake.manifests)  # it has the referrers API


def drip_headers(handler: Any, kind: str) -> bool:
    for _ in range(100):
        handler.wfile.write(b"X")
        handler.wfile.flush()
        time.sleep(0.1)
    return True


def drip_body(handler: Any, kind: str) -> bool:
    if kind != "blob":
        return False
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"X")
        handler.wfile.flush()
        time.sleep(0.1)
    return True


def silent(handler: Any, kind: str) -> bool:
    time.sleep(5)
    return True


def not_http(handler: Any, kind: str) -> bool:
    handler.wfile.write(b"\x00\x01garbage\r\n\r\n" * 10)
    handler.close_connection = True
    return True


def html(handler: Any, kind: str) -> bool:
    handler.answer(200, b"<html>Please log in to the hotel's network</html>")
    return True


def endless(handler: Any, kind: str) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 40))
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b"{" * 65536)
    return True


def failing(handler: Any, kind: str) -> bool:
    handler.answer(503, b'{"errors":[{"code":"UNAVAILABLE","message":"the disk is full"}]}')
    return True


def another_manifest(handler: Any, kind: str) -> bool:
    if kind != "manifest":
        return False
    handler.answer(200, b'{"schemaVersion":2}', Docker_Content_Digest="sha256:" + "0" * 64)
    return True


def forbidden(handler: Any, kind: str) -> bool:
    handler.answer(403)
    return True


def flipped(handler: Any, kind: str) -> bool:
    blobs = handler.server.blobs
    if kind != "blob" or not (data := blobs.get(handler.path.rpartition("/")[2])):
        return False
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 1
    handler.answer(200, bytes(changed))
    return True


def too_long(handler: Any, kind: str) -> bool:
    data = handler.server.blobs.get(handler.path.rpartition("/")[2])
    if kind != "blob" or data is None:
        return False
    handler.answer(200, data + b"more")
    return True


def too_short(handler: Any, kind: str) -> bool:
    data = handler.server.blobs.get(handler.path.rpartition("/")[2])
    if kind != "blob" or data is None:
        return False
    handler.answer(200, data[:-1])
    return True


def lost_blobs(handler: Any, kind: str) -> bool:
    if kind == "blob":
        handler.answer(404)
    return kind == "blob"


@pytest.mark.parametrize(
    ("misbehave", "what"),
    [
        (silent, "too slow"),
        (drip_headers, "too slow|broke"),
        (drip_body, "too slow"),
        (not_http, "broke"),
        (html, "is no manifest of a bundle"),
        (endless, "more than 4194304 bytes"),
        (failing, "answered 503 .*the disk is full"),
        (another_manifest, "sent another manifest than asked"),
        (forbidden, "answered 403"),
        (flipped, "is not what its digest says"),
        (too_long, "sent more than"),
        (too_short, "ended after"),
        (lost_blobs, "answered 404"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_pull_from_a_broken_registry(
    elsewhere: Registry,
    shared: str,
    fake: Fake,
    tmp_path: Path,
    misbehave: Callable[[Any, str], bool],
    what: str,
) -> None:
    import re

    fake.misbehave = misbehave
    slow = misbehave in (silent, drip_headers, drip_body)
    error = refused(elsewhere, shared, tmp_path / "out", IMPATIENT if slow else QUICK)
    assert re.search(what, error.message), error.message
    fake.misbehave = lambda handler, kind: False
    pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert verify(elsewhere).problems == ()


def test_a_registry_that_is_not_there(
    elsewhere: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"oci://127.0.0.1:{free_port()}/models/demo:1"
    assert "cannot be reached" in refused(elsewhere, url, tmp_path / "out").message
    assert (
        "cannot be reached" in refused(elsewhere, "oci://no.invalid/models/demo:1", tmp_path / "out").message
    )
    for bad in (
        "oci://",
        "oci://host",
        "oci://host/Name:1",
        "oci://host/name:a b",
        "oci://host/n@sha256:1",
        "oci://-/n",
    ):
        words = ["--registry", str(elsewhere.blobs.folder), "--out", str(tmp_path / "out")]
        assert main(["registry", "pull", bad, *words]) == 2, bad
        assert "next:" in capsys.readouterr().err


def test_a_manifest_by_digest_must_be_that_one(
    elsewhere: Registry, shared: str, version: Version, fake: Fake, tmp_path: Path
) -> None:
    other = fake.manifests["1"].replace(b'"schemaVersion":2', b'"schemaVersion": 2')
    fake.manifests[version.digest] = other
    url = f"oci://{fake.host}/models/demo@{version.digest}"
    assert "sent another manifest than asked" in refused(elsewhere, url, tmp_path / "out").message


def test_no_such_tag(elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path) -> None:
    error = refused(elsewhere, f"oci://{fake.host}/models/demo:2", tmp_path / "out")
    assert "there is no oci://" in error.message


def change(manifest: Any, edit: str) -> None:
    layers = manifest["layers"]
    first = layers[0]["annotations"]
    if edit.startswith("path "):
        first[FILE_PATH] = edit.removeprefix("path ")
    elif edit == "twice":
        layers.append(layers[0])
    elif edit == "file and folder":
        first[FILE_PATH] = layers[1]["annotations"][FILE_PATH] + "/inside"
    elif edit == "image":
        manifest.update(
            artifactType=None,
            config={**manifest["config"], "mediaType": "application/vnd.oci.image.config.v1"},
        )
    elif edit == "tar":
        layers[0]["mediaType"] = "application/vnd.cncf.model.weight.v1.tar"
    elif edit == "size":
        layers[0]["size"] = -1
    elif edit == "digest":
        layers[0]["digest"] = "sha256:../../etc/passwd"
    elif edit == "no annotations":
        del layers[0]["annotations"]
    elif edit == "no decision":
        manifest["layers"] = [one for one in layers if one["annotations"][FILE_PATH] != "decision.json"]
    elif edit == "a file left out":
        del manifest["layers"][0]
    elif edit == "another file":
        layers[0]["digest"], layers[0]["size"] = layers[1]["digest"], layers[1]["size"]


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ("path ../outside", "no path within a bundle"),
        ("path /etc/passwd", "no path within a bundle"),
        ("path a/../../b", "no path within a bundle"),
        ("path c:\\windows", "no path within a bundle"),
        ("twice", "two files of the same path"),
        ("file and folder", "cannot be written"),
        ("image", "not a model of CNCF ModelPack"),
        ("tar", "files of bundles are raw"),
        ("size", "no manifest of a bundle"),
        ("digest", "no manifest of a bundle"),
        ("no annotations", "no manifest of a bundle"),
        ("no decision", "has no decision.json"),
        ("a file left out", "is missing"),
        ("another file", "was changed"),
    ],
)
def test_a_hostile_manifest(
    elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path, edit: str, what: str
) -> None:
    manifest = json.loads(fake.manifests["1"])
    change(manifest, edit)
    fake.manifests["1"] = json.dumps(manifest).encode()
    assert what in refused(elsewhere, shared, tmp_path / "out").message


def test_a_download_goes_on_where_it_was_cut(
    elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path
) -> None:
    large = the_large(fake)

    def cut(handler: Any, kind: str) -> bool:
        if kind != "blob" or not handler.path.endswith(large) or handler.command == "HEAD":
            return False
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{LARGE - 1}/{LARGE}")
        handler.send_header("Content-Length", str(LARGE - start))
        handler.end_headers()
        handler.wfile.write(fake.blobs[large][start : start + 900_000])
        handler.wfile.flush()
        cut_off(handler)
        return True

    fake.misbehave = cut
    received = pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    asked = [headers["Range"] for headers in fake.headers if "Range" in headers]
    assert len(asked) == 3 and received.transferred <= received.size
    assert verify(elsewhere).problems == ()


def test_a_download_goes_on_in_the_next_run(
    elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path
) -> None:
    large = the_large(fake)

    def once(handler: Any, kind: str) -> bool:
        if kind != "blob" or not handler.path.endswith(large) or handler.headers.get("Range"):
            again = kind == "blob" and handler.path.endswith(large)
            if again:
                cut_off(handler)
            return again
        handler.send_response(200)
        handler.send_header("Content-Length", str(LARGE))
        handler.end_headers()
        handler.wfile.write(fake.blobs[large][:2_000_000])
        handler.wfile.flush()
        cut_off(handler)
        return True

    fake.misbehave = once
    refused(elsewhere, shared, tmp_path / "out")
    fake.misbehave = lambda handler, kind: False
    fake.headers.clear()
    pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    (asked,) = [headers["Range"] for headers in fake.headers if "Range" in headers]
    assert int(asked.removeprefix("bytes=").partition("-")[0]) >= 1_000_000


def test_what_an_earlier_run_left_may_be_damaged(
    elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path
) -> None:
    large = the_large(fake)
    (elsewhere.blobs.incoming / f"{large[7:]}.partial").write_bytes(b"\0" * 1_000_000)
    pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert verify(elsewhere).problems == ()


def test_a_registry_without_ranges(elsewhere: Registry, shared: str, fake: Fake, tmp_path: Path) -> None:
    large = the_large(fake)
    (elsewhere.blobs.incoming / f"{large[7:]}.partial").write_bytes(fake.blobs[large][:1_000_000])

    def whole(handler: Any, kind: str) -> bool:
        if kind == "blob" and handler.headers.get("Range"):
            handler.answer(200, fake.blobs[large])
            return True
        return False

    fake.misbehave = whole
    pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert verify(elsewhere).problems == ()


@pytest.mark.parametrize("lists", [b"[]", b"{", b'{"%s":[["sha256:%s",70000]]}', b'{"x":[["y",-1]]}'])
def test_wrong_lists_of_chunks_do_no_harm(
    elsewhere: Registry, shared: str, version: Version, fake: Fake, make: Make, tmp_path: Path, lists: bytes
) -> None:
    push(elsewhere, make(weights(5) + b"more"), name="near", by="bob")  # so that chunks are asked for
    kind = "application/vnd.edgehone.chunks.v1+json"
    attached = next(name for name, data in fake.manifests.items() if json.loads(data)["artifactType"] == kind)
    wrong = lists % (the_large(fake).encode(), b"0" * 64) if b"%s" in lists else lists
    manifest = json.loads(fake.manifests.pop(attached))
    manifest["layers"][0].update(digest=digest_of(wrong), size=len(wrong))
    data = json.dumps(manifest).encode()
    fake.blobs[digest_of(wrong)] = wrong
    fake.manifests[digest_of(data)] = data
    received = pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert received.version.digest == version.digest
    assert (received.note is None) == (b"%s" in lists)


def test_a_list_with_the_chunks_in_another_order(
    elsewhere: Registry, shared: str, version: Version, fake: Fake, make: Make, tmp_path: Path
) -> None:
    push(elsewhere, make(weights(5)[: LARGE // 2]), name="near", by="bob")
    large = the_large(fake)
    lists = next(data for data in fake.blobs.values() if data.startswith(b'{"sha256:'))
    swapped = json.loads(lists)
    swapped[large].reverse()
    wrong = json.dumps(swapped).encode()
    for name, data in list(fake.manifests.items()):
        if digest_of(lists).encode() in data:
            content_ = json.loads(data)
            content_["layers"][0].update(digest=digest_of(wrong), size=len(wrong))
            del fake.manifests[name]
            fake.manifests[digest_of(json.dumps(content_).encode())] = json.dumps(content_).encode()
    fake.blobs[digest_of(wrong)] = wrong
    received = pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert received.version.digest == version.digest
    assert verify(elsewhere).problems == ()


@pytest.mark.parametrize(
    ("when", "misbehave", "what"),
    [
        ("patch", failing, "answered 503"),
        ("put", failing, "answered 503"),
        ("begin", forbidden, "answered 403"),
        ("patch", silent, "too slow"),
        ("begin", lambda handler, kind: handler.answer(202) or True, "did not say where"),
    ],
)
def test_a_push_to_a_broken_registry(
    registry: Registry,
    version: Version,
    fake: Fake,
    when: str,
    misbehave: Callable[[Any, str], bool],
    what: str,
) -> None:
    fake.misbehave = lambda handler, kind: kind == when and misbehave(handler, kind)
    url = f"oci://{fake.host}/models/demo:1"
    limits = replace(IMPATIENT if misbehave is silent else QUICK, least_bytes=10**9)
    with pytest.raises(EdgehoneError, match=what) as caught:
        push_to(registry, version, url, by="ann", limits=limits)
    assert caught.value.exit_code == 2 and caught.value.hint
    assert "1" not in fake.manifests
    fake.misbehave = lambda handler, kind: False
    push_to(registry, version, url, by="ann", limits=QUICK)
    assert digest_of(fake.manifests["1"]) == version.digest


def test_an_upload_goes_on_where_it_was_cut(registry: Registry, version: Version, fake: Fake) -> None:
    cuts: list[int] = []

    def cut(handler: Any, kind: str) -> bool:
        if kind != "patch" or not handler.headers["Content-Range"].startswith("1048576-") or len(cuts) > 1:
            return False
        cuts.append(1)
        if len(cuts) == 2:  # the second time it has kept a part of the segment
            handler.server.uploads[handler.path.rpartition("/")[2]] += handler.rfile.read(1000)
        cut_off(handler)
        return True

    fake.misbehave = cut
    push_to(registry, version, f"oci://{fake.host}/models/demo:1", by="ann", limits=QUICK)
    assert digest_of(fake.blobs[the_large(fake)]) == the_large(fake)
    assert len(cuts) == 2
    starts = [line for line in fake.log if line.startswith("PATCH")]
    assert len(starts) < 40


def test_a_damaged_blob_is_not_pushed(registry: Registry, version: Version, fake: Fake) -> None:
    chunk = next((registry.blobs.folder / "chunks").glob("*/*"))
    chunk.write_bytes(b"!" + chunk.read_bytes()[1:])
    with pytest.raises(EdgehoneError, match="its content was changed"):
        push_to(registry, version, f"oci://{fake.host}/models/demo:1", by="ann", limits=QUICK)
    assert "1" not in fake.manifests


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


def test_referrers_by_the_fallback_tag(registry: Registry, version: Version, fake: Fake) -> None:
    fake.with_referrers = False
    push_to(registry, version, f"oci://{fake.host}/models/demo:1", by="ann", limits=QUICK)
    tag = version.digest.replace(":", "-")
    before = json.loads(fake.manifests[tag])
    assert len(before["manifests"]) == 1
    with Client(parse(f"oci://{fake.host}/models/demo:1"), QUICK) as client:
        subject = fake.manifests["1"]
        for _ in range(2):  # attaching the same again changes nothing
            referrers.attach(client, subject, "application/vnd.example.note", b"a note")
        assert referrers.find(client, version.digest, "application/vnd.example.note") == [b"a note"]
    assert len(json.loads(fake.manifests[tag])["manifests"]) == 2
    assert json.loads(fake.manifests[tag])["manifests"][0] == before["manifests"][0]


def test_the_same_bundle_by_another_client_has_our_digest(
    elsewhere: Registry, shared: str, version: Version, fake: Fake, tmp_path: Path
) -> None:
    manifest = json.loads(fake.manifests["1"])
    manifest["annotations"] = {"by": "another client"}
    fake.manifests["1"] = json.dumps(manifest, indent=2).encode()
    received = pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert received.version.digest == version.digest
    assert content(tmp_path / "out")


def test_the_present_addresses() -> None:
    assert parse("oci://127.0.0.1:5000/a/b:1").base == "http://127.0.0.1:5000/v2/a/b"
    assert parse("oci://[::1]:5000/a:1").scheme == "http"
    assert parse("oci://registry.example/a").base == "https://registry.example/v2/a"
    assert parse("oci+https://localhost/a").base == "https://localhost/v2/a"
    assert parse("oci+http://registry.example/a").base == "http://registry.example/v2/a"
    assert parse("oci://localhost.example/a").scheme == "https"
    assert parse("oci://registry.example/a").reference == "latest"
