"""The bundle that `make demo` makes, and those of the other backends, through every target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import edgehone
from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.package import registry
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, Packed, pack
from tests.package.manifests import IMAGE
from tests.serve.conftest import bundle_of

__all__ = ["bundle_of"]  # a fixture
pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.xdist_group("container")]
OPTIONS: Mapping[str, Mapping[str, str]] = {"kubernetes": {"image": IMAGE, "unsigned": "yes"}}
# Which targets take a language model of a backend. Images of all backends are in the tests of that target.
TAKES = {
    "llamacpp": {"android", "container", "desktop", "embedded", "kubernetes"},
    "mlx": {"desktop", "ios", "kubernetes"},
    "olive": {"container", "desktop", "kubernetes", "onnxruntime"},
    "openvino": {"container", "desktop", "kubernetes", "ovms"},
}


def test_the_bundle_of_make_demo(
    demo_model: Path, real_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    bundle = tmp_path / "demo-bundle"
    backends = sorted(TAKES)
    # Exit code 3, as in the Makefile: a machine with other work can miss a gate on speed.
    words = ["--effort", "quick", "--backends", ",".join(backends), "--out", str(bundle)]
    assert main(["optimize", str(demo_model), *words]) in (0, 3)
    backend = edgehone.read(bundle).manifest.recipe["backend"]
    _through(bundle, TAKES[backend], registry.names(), tmp_path)


@pytest.mark.parametrize("backend", sorted({*TAKES} - {"llamacpp"}))
def test_a_bundle_of_another_backend(backend: str, bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    targets = [name for name in registry.names() if name != "container"]
    _through(bundle_of(backend), TAKES[backend], targets, tmp_path)


def _through(bundle: Path, takes: set[str], targets: list[str], folder: Path) -> None:
    """Package a bundle for targets: those that take it have programs that accept the package; others refuse by name."""
    for name in targets:
        out = folder / name
        if name in takes:
            packed = pack(bundle, Order(registry.load(name), out, OPTIONS.get(name, {}), unapproved=True))
            _accepted(name, packed)
            assert main(["verify", str(out)]) == 0
            continue
        with pytest.raises(InputError) as refused:
            pack(bundle, Order(registry.load(name), out, {}, unapproved=True))
        assert f"cannot be packaged for {name}" in refused.value.message and refused.value.exit_code == 2
        assert takes == set(str(refused.value.hint).rpartition(" --for ")[2].split("|"))
        assert not out.exists()


def _accepted(name: str, packed: Packed) -> None:
    outcomes = {one.name: one.outcome for one in packed.checks}
    assert "passed" in outcomes.values() and "failed" not in outcomes.values(), (name, outcomes)
    assert verify_package(packed.path).package.target == name
