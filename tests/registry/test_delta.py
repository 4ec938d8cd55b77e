"""Pushing versions as deltas: what is sent, that pulls give the same version, and lists that somebody made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.registry.blobs import digest_of
from edgehone.registry.push import push
from edgehone.registry.remote.delta import KIND
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import Sent, push_to
from edgehone.registry.session import Registry, Version, open_registry
from edgehone.registry.verify import verify
from tests.registry.bundles import LARGE, Make, content, weights
from tests.registry.fake import Fake, fake_registry
from tests.registry.test_peers import _by_skopeo

SHARED = weights(1, 3 * LARGE)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Registry:
    """The registry of another machine."""
    return open_registry(str(tmp_path / "elsewhere"))


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A registry in memory."""
    with fake_registry() as one:
        yield one


def sent(registry: Registry, version: Version, url: str, delta: bool = True) -> Sent:
    return push_to(registry, version, url, by="ann", delta=delta)


def versions(registry: Registry, make: Make) -> tuple[list[Path], list[Version]]:
    """Three versions of a model: each changes a little in a large file of the one before."""
    middle = SHARED[:LARGE] + b"changed" + SHARED[LARGE:]
    bundles = [make(one) for one in (SHARED, middle, middle + weights(2, 200_000))]
    return bundles, [push(registry, bundle, name="demo", by="ann").version for bundle in bundles]


@pytest.mark.whole
@pytest.mark.xdist_group("oci")
def test_only_the_chunks_that_are_missing_are_sent(
    registry: Registry, elsewhere: Registry, make: Make, docker: str, tmp_path: Path
) -> None:
    bundles, (first, second, third) = versions(registry, make)
    there = f"oci://{docker}/deltas/demo"
    assert sent(registry, first, f"{there}:1", delta=False).sent > 3 * LARGE
    for number, version in ((2, second), (3, third)):
        told = sent(registry, version, f"{there}:{number}")
        assert told.sent < 0.4 * 3 * LARGE and told.there > 0.6 * 3 * LARGE
        again = sent(registry, version, f"{there}:{number}")
        assert again.digest == told.digest and again.sent == 0 and again.before is None
    for number, bundle, version in ((3, bundles[2], third), (2, bundles[1], second)):
        received = pull_from(elsewhere, f"{there}:{number}", out=tmp_path / f"out-{number}", by="bob")
        assert received.version.digest == version.digest and received.note is None
        assert content(tmp_path / f"out-{number}") == content(bundle)
    assert received.transferred < 0.4 * 3 * LARGE  # the rest came with version 3
    assert verify(elsewhere).problems == ()
    # Another client copies it whole, and edgehone pulls the copy.
    copied = _by_skopeo(f"{docker}/deltas/demo:3", f"{docker}/copied/demo:3", tmp_path / "layout")
    received = pull_from(open_registry(str(tmp_path / "third")), f"oci://{copied}", by="eve")
    assert received.version.digest == third.digest


def test_what_the_repository_has_whole_is_not_sent(registry: Registry, make: Make, fake: Fake) -> None:
    _, (first, *_) = versions(registry, make)
    url = f"oci://{fake.host}/models/demo"
    sent(registry, first, f"{url}:1", delta=False)
    assert sent(registry, first, f"{url}:same").sent < 10_000


def test_without_an_earlier_version_everything_is_sent_as_whole_files(
    registry: Registry, elsewhere: Registry, make: Make, fake: Fake, tmp_path: Path
) -> None:
    bundles, (first, *_) = versions(registry, make)
    told = sent(registry, first, f"oci://{fake.host}/models/demo:1")
    assert told.sent > 3 * LARGE and told.there == 0
    received = pull_from(elsewhere, f"oci://{fake.host}/models/demo:1", out=tmp_path / "out", by="bob")
    assert received.version.digest == first.digest and content(tmp_path / "out") == content(bundles[0])
    # Its files are blobs of their own, so that a push for other clients has little to add.
    assert sent(registry, first, f"oci://{fake.host}/models/demo:whole", delta=False).sent < 10_000


@pytest.mark.parametrize("lost", ["the tag", "the blob"])
def test_an_earlier_version_that_is_gone_is_not_relied_on(
    registry: Registry, elsewhere: Registry, make: Make, fake: Fake, lost: str
) -> None:
    _, (first, second, _) = versions(registry, make)
    url = f"oci://{fake.host}/models/demo"
    sent(registry, first, f"{url}:1", delta=False)
    if lost == "the tag":
        del fake.manifests["1"]
    else:
        large = max(fake.blobs, key=lambda one: len(fake.blobs[one]))
        del fake.blobs[large]
    assert sent(registry, second, f"{url}:2").sent > 3 * LARGE
    assert pull_from(elsewhere, f"{url}:2", by="bob").version.digest == second.digest


def _changed(fake: Fake, tag: str, change: Callable[[Any, Any], object]) -> None:
    """Change the manifest and the list of a delta as if they had been pushed so."""
    manifest = json.loads(fake.manifests[tag])
    listed = json.loads(fake.blobs[manifest["config"]["digest"]])
    change(manifest, listed)
    if isinstance(manifest.get("config"), dict) and "digest" in manifest["config"]:
        data = json.dumps(listed).encode()
        fake.blobs[digest_of(data)] = data
        manifest["config"]["digest"] = digest_of(data)
    fake.manifests[tag] = json.dumps(manifest).encode()


def _each(number: int, value: Any) -> Callable[[Any, Any], None]:
    def change(manifest: Any, listed: Any) -> None:
        for parts in listed["files"].values():
            for part in parts:
                part[number] = value

    return change


def _swap(manifest: Any, listed: Any) -> None:
    for parts in listed["files"].values():
        parts[0], parts[1] = parts[1], parts[0]


HOSTILE: dict[str, Callable[[Any, Any], object]] = {
    "another order": _swap,
    "no parts": lambda manifest, listed: [parts.clear() for parts in listed["files"].values()],
    "no files": lambda manifest, listed: listed.pop("files"),
    "no list": lambda manifest, listed: manifest.pop("config"),
    "no version": lambda manifest, listed: manifest["layers"].pop(0),
    "no layers": lambda manifest, listed: manifest["layers"].clear(),
    "another chunk": _each(0, "0" * 64),
    "no digest": _each(0, "../x"),
    "no size": _each(1, 0),
    "huge": _each(1, 1 << 60),
    "a float": _each(1, 1.5),
    "no such layer": _each(2, 999),
    "a negative layer": _each(2, -1),
    "the wrong layer": _each(2, 1),
    "behind the end": _each(3, 1 << 40),
    "the beginning": _each(3, 0),
    "a part of other length": lambda manifest, listed: [
        parts[0].append(1) for parts in listed["files"].values()
    ],
    "a layer of no size": lambda manifest, listed: [layer.pop("size") for layer in manifest["layers"]],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_list_that_somebody_made_up_gives_no_files(
    registry: Registry, elsewhere: Registry, make: Make, fake: Fake, tmp_path: Path, name: str
) -> None:
    _, (first, second, _) = versions(registry, make)
    url = f"oci://{fake.host}/models/demo"
    sent(registry, first, f"{url}:1", delta=False)
    sent(registry, second, f"{url}:2")
    _changed(fake, "2", HOSTILE[name])
    with pytest.raises(InputError) as caught:
        pull_from(elsewhere, f"{url}:2", out=tmp_path / "out", by="bob")
    assert caught.value.hint and not (tmp_path / "out").exists()
    assert verify(elsewhere).versions == 0 and verify(elsewhere).problems == ()
    # Nor does a push rely on it.
    sent(registry, second, f"{url}:3")
    assert pull_from(elsewhere, f"{url}:3", by="bob").version.digest == second.digest


def test_a_changed_byte_in_a_pack_is_found(
    registry: Registry, elsewhere: Registry, make: Make, fake: Fake, tmp_path: Path
) -> None:
    _, (first, second, _) = versions(registry, make)
    url = f"oci://{fake.host}/models/demo"
    sent(registry, first, f"{url}:1", delta=False)
    before = set(fake.blobs)
    sent(registry, second, f"{url}:2")
    pack = max(set(fake.blobs) - before, key=lambda one: len(fake.blobs[one]))
    fake.blobs[pack] = fake.blobs[pack][:-1] + bytes([fake.blobs[pack][-1] ^ 1])
    with pytest.raises(InputError, match="do not make up the file"):
        pull_from(elsewhere, f"{url}:2", out=tmp_path / "out", by="bob")
    assert not (tmp_path / "out").exists() and verify(elsewhere).problems == ()


def test_a_damaged_chunk_is_not_sent(registry: Registry, make: Make, fake: Fake) -> None:
    _, (first, second, _) = versions(registry, make)
    sent(registry, first, f"oci://{fake.host}/models/demo:1", delta=False)
    ours = {name for name, _ in registry.blobs.chunks_of(_large(registry, first))}
    new = next(name for name, _ in registry.blobs.chunks_of(_large(registry, second)) if name not in ours)
    registry.blobs.chunk(new).write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be used"):
        sent(registry, second, f"oci://{fake.host}/models/demo:2")
    assert "2" not in fake.manifests


def _large(registry: Registry, version: Version) -> str:
    from edgehone.registry.session import manifest_of

    _, files = manifest_of(registry, version)
    return max(files, key=lambda one: one.size).digest


def test_the_command_line(
    registry: Registry, make: Make, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    versions(registry, make)
    words = ["registry", "push", "--registry", str(registry.blobs.folder)]
    to = ["--to", f"oci://{fake.host}/models/demo"]
    assert main([*words, "demo:1", "--to", f"{to[1]}:1"]) == 0
    capsys.readouterr()
    assert main([*words, "demo:2", "--to", f"{to[1]}:2", "--delta"]) == 0
    assert "MB were there" in capsys.readouterr().out
    assert json.loads(fake.manifests["2"])["artifactType"] == KIND
    for wrong in (["demo:2", "--delta"], ["demo:2", "--delta", "--to", "mlflow+http://127.0.0.1:1/x"]):
        assert main([*words, *wrong]) == 2
        assert "--delta is for OCI registries" in capsys.readouterr().err
