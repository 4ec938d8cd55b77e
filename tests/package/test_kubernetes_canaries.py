"""Canaries of InferenceServices: the next version beside the stable one, and planted mistakes in them."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgehone.package.targets.kubernetes.checks import (
    _kubectl,
    build_overlay,
    check_overlays,
    judge,
    with_canary,
)
from tests.attestation.signed import certified, make_key
from tests.finished import Finished
from tests.package.manifests import (
    DIGEST,
    IMAGE,
    OTHER,
    Change,
    Objects,
    made,
    one_of,
    signed,
)

__all__ = ["signed"]  # fixtures


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory, _finished: Finished) -> tuple[Path, Path]:
    """The manifests of two versions for KServe: the stable one, whose image is IMAGE, and the next one."""
    place = tmp_path_factory.mktemp("kserve")
    key = make_key(place)
    bundle = certified(Path(shutil.copytree(_finished.bundle, place / "bundle")), key)
    options = {"kind": "kserve", "name": "tiny", "replicas": "3", "max_replicas": "6"}
    old = made((bundle, key), place / "old", **options)
    new = made((bundle, key), place / "new", **{**options, "image": IMAGE.replace(DIGEST, OTHER)})
    return old.path / "manifests", new.path / "manifests"


def _with_canary(two_versions: tuple[Path, Path], name: str = "05-percent.yaml") -> Objects:
    """Return the stable version's objects with a canary of the next one."""
    old, new = two_versions
    kubectl = _kubectl()
    assert kubectl is not None
    objects = build_overlay(old / "overlays" / "production", kubectl)
    return copy.deepcopy(
        [dict(one) for one in with_canary(objects, (new / "canary" / name).read_text("utf-8"))]
    )


def test_a_canary_is_the_next_version_beside_the_stable_one(
    two_versions: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = two_versions
    assert sorted(one.name for one in (new / "canary").iterdir()) == [
        "01-percent.yaml", "05-percent.yaml", "25-percent.yaml", "50-percent.yaml", "end.yaml",
    ]  # fmt: skip
    objects = _with_canary(two_versions, "50-percent.yaml")
    assert [one.outcome for one in judge({"canary": objects})] == ["passed"] * 3, judge({"canary": objects})
    spec = one_of(objects, "InferenceService")["spec"]
    (canary,) = spec["canary"]
    assert (
        canary["trafficPercent"],
        canary["predictor"]["minReplicas"],
        spec["predictor"]["minReplicas"],
    ) == (50, 3, 3)
    assert spec["predictor"]["model"]["image"] == IMAGE
    images = [canary["predictor"]["model"], *canary["predictor"]["initContainers"]]
    assert {one["image"] for one in images} == {IMAGE.replace(DIGEST, OTHER)}
    # Kustomize and kubectl's merge patch make the same of it, and the last patch ends it
    shutil.copytree(old, tmp_path / "manifests")
    place, kubectl = tmp_path / "manifests" / "overlays" / "production", _kubectl()
    assert kubectl is not None
    for name, expected in (("50-percent.yaml", spec), ("end.yaml", {"predictor": spec["predictor"]})):
        shutil.copy(new / "canary" / name, place / name)
        with (place / "kustomization.yaml").open("a", encoding="utf-8") as file:
            file.write(f"  - path: {name}\n")  # its last list is that of patches
        assert one_of(build_overlay(place, kubectl), "InferenceService")["spec"] == expected


def test_steps_that_a_canary_has_too_few_pods_for_are_left_out(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    packed = made(signed, tmp_path / "package", kind="kserve", replicas="1", max_replicas="10")
    names = sorted(one.name for one in (packed.path / "manifests" / "canary").iterdir())
    assert names == ["01-percent.yaml", "05-percent.yaml", "end.yaml"]
    readme = (packed.path / "README.md").read_text("utf-8")
    assert "--patch-file manifests/canary/05-percent.yaml\n" in readme and "25-percent" not in readme


def canary_of(one: Any) -> Any:
    """Return the canary of an InferenceService."""
    return one["spec"]["canary"][0]


WRONG_CANARIES: dict[str, tuple[Change, str]] = {
    "misspelt": (lambda one: canary_of(one).update(trafficPercentage=5), "trafficPercentage"),
    "no share": (lambda one: canary_of(one).pop("trafficPercent"), "trafficPercent"),
    "a share as text": (lambda one: canary_of(one).update(trafficPercent="5"), "trafficPercent"),
    "a share above all": (lambda one: canary_of(one).update(trafficPercent=101), "101"),
    "the field of Knative": (lambda one: canary_of(one).update(canaryTrafficPercent=5), "canaryTrafficPercent"),
    "shares above all": (
        lambda one: one["spec"]["canary"].append(
            {"trafficPercent": 96, "predictor": {**canary_of(one)["predictor"], "name": "v3"}}
        ),
        "get 101 % of the requests",
    ),
    "no name": (lambda one: canary_of(one)["predictor"].pop("name"), "different names"),
    "the stable one's name": (
        lambda one: one["spec"]["predictor"].update(name=canary_of(one)["predictor"]["name"]), "different names",
    ),
    "a name that is none": (lambda one: canary_of(one)["predictor"].update(name="1.2"), "1.2"),
    "Knative": (
        lambda one: one["metadata"]["annotations"].update({"serving.kserve.io/deploymentMode": "Knative"}), "Standard",
    ),
    "most pods": (lambda one: canary_of(one)["predictor"].update(maxReplicas=3), "has maxReplicas"),
    "more pods than the stable one": (
        lambda one: canary_of(one)["predictor"].update(minReplicas=4), "has 4 pods, and the stable predictor",
    ),
    "no model": (lambda one: canary_of(one)["predictor"].pop("model"), "needs a model"),
    "a stable one without a model": (lambda one: one["spec"]["predictor"].pop("model"), "has no model"),
    "a runtime that is not there": (
        lambda one: canary_of(one)["predictor"]["model"].update(runtime="next"), "names the ServingRuntime next",
    ),
    "an image by its tag": (
        lambda one: canary_of(one)["predictor"]["model"].update(image="registry.example/demo:2"), "by its digest",
    ),
    "pods that nothing selects": (lambda one: canary_of(one)["predictor"].pop("labels"), "does not select"),
    "another key": (
        lambda one: canary_of(one)["predictor"]["volumes"][1]["configMap"].update(name="x"), "names the ConfigMap x",
    ),
    "a field of a container": (
        lambda one: canary_of(one)["predictor"]["model"]["readinessProbe"].update(path="/"), "path",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_CANARIES)
def test_a_mistake_in_a_canary_is_found(name: str, two_versions: tuple[Path, Path]) -> None:
    change, word = WRONG_CANARIES[name]
    objects = _with_canary(two_versions)
    change(one_of(objects, "InferenceService"))
    failed = [one for one in judge({"canary": objects}) if one.outcome == "failed"]
    assert any(word in one.reason for one in failed), failed


def test_a_canary_whose_file_is_wrong_fails_the_check(signed: tuple[Path, Path], tmp_path: Path) -> None:
    packed = made(signed, tmp_path / "package", kind="kserve")
    patch = packed.path / "manifests" / "canary" / "05-percent.yaml"
    patch.write_text(patch.read_text("utf-8").replace("trafficPercent: 5", "trafficPercent: 500"))
    failed = [
        one
        for one in check_overlays(packed.path, ["manifests/overlays/production"])
        if one.outcome == "failed"
    ]
    assert failed and "05-percent" in failed[0].reason and "500" in failed[0].reason
