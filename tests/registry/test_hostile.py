"""OCI registries that are unreachable, slow, full, broken or hostile: a clear error, and nothing is half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import EdgehoneError
from edgehone.registry.blobs import digest_of
from edgehone.registry.modelpack import FILE_PATH
from edgehone.registry.remote import referrers
from edgehone.registry.remote.address import parse
from edgehone.registry.remote.client import Client
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, Version
from edgehone.registry.verify import verify
from tests.ports import free_port
from tests.registry.bundles import content
from tests.registry.fake import Fake
from tests.registry.misbehaviour import (
    IMPATIENT,
    QUICK,
    another_manifest,
    drip_body,
    drip_headers,
    elsewhere,
    endless,
    failing,
    fake,
    flipped,
    forbidden,
    html,
    lost_blobs,
    not_http,
    refused,
    shared,
    silent,
    too_long,
    too_short,
    version,
)

__all__ = ["elsewhere", "fake", "shared", "version"]  # fixtures
pytestmark = pytest.mark.whole


def test_the_registry_in_memory_works(
    elsewhere: Registry, version: Version, shared: str, tmp_path: Path, fake: Fake
) -> None:
    received = pull_from(elsewhere, shared, out=tmp_path / "out", by="bob", limits=QUICK)
    assert received.version.digest == version.digest and received.note is None
    assert not any(name.startswith("sha256-") for name in fake.manifests)  # it has the referrers API


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


def test_a_damaged_blob_is_not_pushed(registry: Registry, version: Version, fake: Fake) -> None:
    chunk = next((registry.blobs.folder / "chunks").glob("*/*"))
    chunk.write_bytes(b"!" + chunk.read_bytes()[1:])
    with pytest.raises(EdgehoneError, match="its content was changed"):
        push_to(registry, version, f"oci://{fake.host}/models/demo:1", by="ann", limits=QUICK)
    assert "1" not in fake.manifests


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
