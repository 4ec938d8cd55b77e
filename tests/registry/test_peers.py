"""Pushing to and pulling from a real OCI registry, and exchanging artifacts with other clients of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.registry.push import push
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, open_registry
from tests.registry.bundles import LARGE, Make, content, weights
from tests.registry.servers import program

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("oci")]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Registry:
    """The registry of another machine."""
    return open_registry(str(tmp_path / "elsewhere"))


def test_there_and_back(
    registry: Registry, elsewhere: Registry, make: Make, docker: str, tmp_path: Path
) -> None:
    bundle = make(weights(1))
    pushed = push(registry, bundle, name="demo", by="ann").version
    sent = push_to(registry, pushed, f"oci://{docker}/back/demo:1", by="ann")
    assert sent.sent > LARGE and sent.mounted == sent.there == 0 and sent.before is None
    received = pull_from(elsewhere, f"oci://{docker}/back/demo:1", out=tmp_path / "out", by="bob")
    assert received.version.digest == pushed.digest
    assert LARGE < received.transferred <= pushed.size  # two of its files are equal
    assert content(tmp_path / "out") == content(bundle)
    by_digest = pull_from(elsewhere, f"oci://{docker}/back/demo@{pushed.digest}", by="bob")
    assert by_digest.transferred == 0 and by_digest.version.digest == pushed.digest


def test_only_what_is_missing_is_transferred(
    registry: Registry, elsewhere: Registry, make: Make, docker: str
) -> None:
    one = weights(2, 2 * LARGE)
    first = push(registry, make(one), name="demo", by="ann").version
    push_to(registry, first, f"oci://{docker}/delta/demo:1", by="ann")
    pull_from(elsewhere, f"oci://{docker}/delta/demo:1", by="bob")
    second = push(registry, make(one[:LARGE] + b"!" + one[LARGE:]), name="demo", by="ann").version
    sent = push_to(registry, second, f"oci://{docker}/delta/demo:2", by="ann")
    assert sent.there > 0
    received = pull_from(elsewhere, f"oci://{docker}/delta/demo:2", by="bob")
    assert received.note is None
    assert received.transferred < 0.5 * 2 * LARGE
    assert received.version.digest == second.digest


def test_another_repository_of_the_host_gives_its_blobs(registry: Registry, make: Make, docker: str) -> None:
    version = push(registry, make(weights(3)), name="demo", by="ann").version
    push_to(registry, version, f"oci://{docker}/mount/one:1", by="ann")
    sent = push_to(registry, version, f"oci://{docker}/mount/two:1", by="ann")
    assert sent.sent == 0 and sent.mounted > LARGE
    again = push_to(registry, version, f"oci://{docker}/mount/two:1", by="ann")
    assert again.sent == again.mounted == 0


@pytest.mark.parametrize("client", ["skopeo", "modelpack"])
def test_other_clients_read_what_is_pushed_and_write_what_is_pulled(
    registry: Registry, elsewhere: Registry, make: Make, docker: str, tmp_path: Path, client: str
) -> None:
    bundle = make(weights(4))
    version = push(registry, bundle, name="demo", by="ann").version
    push_to(registry, version, f"oci://{docker}/peer/{client}:1", by="ann")
    if client == "skopeo":
        copied = _by_skopeo(
            f"{docker}/peer/{client}:1", f"{docker}/peer/{client}-copy:1", tmp_path / "layout"
        )
    else:
        copied = _by_modelpack(
            f"{docker}/peer/{client}:1", f"{docker}/peer/{client}-copy:1", tmp_path / "files"
        )
        assert content(tmp_path / "files") == content(bundle)
    received = pull_from(elsewhere, f"oci://{copied}", out=tmp_path / "out", by="bob")
    assert content(tmp_path / "out") == content(bundle)
    assert received.version.digest == version.digest


def _by_skopeo(source: str, target: str, layout: Path) -> str:
    skopeo = program("skopeo", "skopeo")
    there = [f"docker://{source}", f"oci:{layout}:demo", "--src-tls-verify=false"]
    back = [f"oci:{layout}:demo", f"docker://{target}", "--dest-tls-verify=false"]
    for words in (there, back):
        command = [skopeo, "copy", "--insecure-policy", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return target


def _by_modelpack(source: str, target: str, folder: Path) -> str:
    """Pull with the independent client, and push the same files with it, under its own manifest."""
    script = """
import sys
from pathlib import Path
from modelpack_client import ModelDescriptor, ModelLayer, ModelPackClient, ModelPackConfig
source, target, folder = sys.argv[1:]
client = ModelPackClient(insecure=True)
client.pull(source, Path(folder))
files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
layers = [
    ModelLayer(path=path, media_type="application/vnd.cncf.model.doc.v1.raw",
               artifact_path=path.relative_to(folder).as_posix())
    for path in files
]
client.push(target, layers, ModelPackConfig(descriptor=ModelDescriptor(name="demo")))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, source, target, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target
