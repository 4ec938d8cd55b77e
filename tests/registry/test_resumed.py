"""Downloads and uploads that were cut go on where they were, also with damaged parts and wrong lists of chunks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgehone.registry.blobs import digest_of
from edgehone.registry.push import push
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, Version
from edgehone.registry.verify import verify
from tests.registry.bundles import LARGE, Make, weights
from tests.registry.fake import Fake
from tests.registry.misbehaviour import QUICK, cut_off, elsewhere, fake, refused, shared, the_large, version

__all__ = ["elsewhere", "fake", "shared", "version"]  # fixtures
pytestmark = pytest.mark.whole


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
