"""iOS packages: what Swift, Apple's privacy manifest and MLX need, and that mlx-lm runs the packaged model."""

from __future__ import annotations

import hashlib
import plistlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.core.errors import InputError
from edgehone.package import registry
from edgehone.package.canaries import Answering, check_answers
from edgehone.package.conform import conform
from edgehone.package.targets.ios.privacy import problem_of
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, Packed, pack
from tests.package.mobile import bundle_with, contents, outcomes, weights

WEIGHTS = weights(60_000)
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
}
RESOURCES = "NullModel/Sources/NullModel/Resources"


@pytest.fixture
def mlx(spoiled: Path) -> Path:
    """A bundle with files that stand for an MLX model."""
    return bundle_with(spoiled, "mlx", FILES)


def packed(bundle: Path, out: Path, **options: str) -> Packed:
    return pack(bundle, Order(registry.load("ios"), out, options))


def test_a_swift_package_with_the_model_as_resources(mlx: Path, tmp_path: Path) -> None:
    found = packed(mlx, tmp_path / "out")
    model = found.path / RESOURCES / "model"
    assert {name: content for name, content in contents(model).items() if name in FILES} == FILES
    manifest = (found.path / "NullModel/Package.swift").read_text()
    for resource in re.findall(r'\.copy\("(.+)"\)', manifest):
        assert (found.path / "NullModel/Sources/NullModel" / resource).exists()
    swift = (found.path / "NullModel/Sources/NullModel/Digests.swift").read_text()
    assert f'"model.safetensors": "{hashlib.sha256(WEIGHTS).hexdigest()}"' in swift
    assert set(re.findall(r'"(.+)": "', swift)) == set(contents(model))
    assert "#huggingFaceTokenizerLoader()" in (found.path / "sample/Sources/Generation.swift").read_text()
    project = (found.path / "sample/project.yml").read_text()
    assert "path: ../NullModel" in project and "resourceTags" not in project
    assert outcomes(found)["sha256sum of the model's files"] == "passed"
    assert verify_package(found.path).package.fillings[0].limit == 50_000_000
    assert "nothing of Apple's was run" in found.package.notes[-1]
    assert "Nothing of Apple's was run" in (found.path / "README.md").read_text()


def test_on_demand_resources_for_larger_models(mlx: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="over the budget") as refused:
        pack(mlx, Order(registry.load("ios"), tmp_path / "out", budget=30_000))
    assert "layout=on-demand" in (refused.value.hint or "")
    found = packed(mlx, tmp_path / "out", layout="on-demand")
    assert (found.path / "NullModel/model/model.safetensors").read_bytes() == WEIGHTS
    project = (found.path / "sample/project.yml").read_text()
    assert "resourceTags: [edgehone-NullModel]" in project
    asks = (found.path / "sample/Sources/OpenModel.swift").read_text()
    assert 'NSBundleResourceRequest(tags: ["edgehone-NullModel"])' in asks
    assert found.package.fillings[0].limit == 512_000_000


@pytest.mark.parametrize("layout", ["package", "on-demand"])
def test_the_privacy_manifest(mlx: Path, tmp_path: Path, layout: str) -> None:
    found = packed(mlx, tmp_path / "out", layout=layout)
    (path,) = found.path.rglob("PrivacyInfo.xcprivacy")
    assert plistlib.loads(path.read_bytes()) == {
        "NSPrivacyTracking": False,
        "NSPrivacyTrackingDomains": [],
        "NSPrivacyCollectedDataTypes": [],
        "NSPrivacyAccessedAPITypes": [],
    }


def test_a_wrong_privacy_manifest_is_noticed() -> None:
    right = {
        "NSPrivacyTracking": False,
        "NSPrivacyTrackingDomains": list[str](),
        "NSPrivacyCollectedDataTypes": list[str](),
        "NSPrivacyAccessedAPITypes": list[str](),
    }
    assert problem_of(plistlib.dumps(right)) is None
    assert problem_of(b"<plist") is not None
    for wrong in (
        {**right, "NSPrivacyTracking": "no"},
        {**right, "NSPrivacyTrackingDomains": ["ads.example"]},
        {name: value for name, value in right.items() if name != "NSPrivacyTracking"},
    ):
        assert problem_of(plistlib.dumps(wrong)) is not None


def test_what_mlx_cannot_do_is_said_when_it_is_asked_for(mlx: Path, tmp_path: Path) -> None:
    assert not any("mapping" in note for note in packed(mlx, tmp_path / "out").package.notes)
    asked = packed(mlx, tmp_path / "out", memory_mapping="true")
    assert any("memory mapping is not possible" in note for note in asked.package.notes)
    assert "Memory mapping was asked for" in (asked.path / "README.md").read_text()


def test_what_ios_does_not_run(spoiled: Path, tmp_path: Path) -> None:
    without = {name: content for name, content in FILES.items() if not name.endswith(".safetensors")}
    for backend, files, reason in (
        ("llamacpp", {"model.gguf": b"1"}, "llamacpp's"),
        ("mlx", without, r"has no \*\.safetensors"),
    ):
        with pytest.raises(InputError, match=reason):
            packed(bundle_with(spoiled, backend, files), tmp_path / "out")
    with pytest.raises(InputError, match="module"):
        packed(bundle_with(spoiled, "mlx", FILES), tmp_path / "out", module="not a name")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["package", "on-demand"])
def test_the_target_conforms(mlx: Path, layout: str) -> None:
    found = conform(registry.load("ios"), mlx, options={"layout": layout})
    assert [f"{one.check}: {one.seen}" for one in found if one.state == "fail"] == []


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("engines")
def test_mlx_runs_the_packaged_model(bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = bundle_of("mlx")
    module = "Tiny"
    found = packed(bundle, tmp_path / "out", module=module)
    assert outcomes(found)["mlx runs the packaged model"] == "passed"
    # Other weights give other answers.
    weights_file = found.path / module / "Sources" / module / "Resources/model/model.safetensors"
    content = bytearray(weights_file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    weights_file.write_bytes(content)
    answering = Answering("edgehone.package.answers:answers", {"artifact": weights_file.parent})
    assert check_answers("mlx", found.path, answering).outcome == "failed"
