"""Planted mistakes in manifests for Kubernetes: which check finds them; and what others' types say of the objects."""

from __future__ import annotations

import copy
import functools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from edgehone.package import registry as targets
from edgehone.package.targets.kubernetes.checks import (
    check_overlays,
    judge,
    with_canary,
)
from edgehone.package.write import Order, pack
from tests.finished import Finished
from tests.package.manifests import (
    IMAGE,
    VOLUME,
    Change,
    Objects,
    made,
    one_of,
    overlay,
    signed,
    sound,
)
from tests.registry.servers import program

__all__ = ["signed", "sound"]  # fixtures


def pod_of(one: Any) -> Any:
    """Return the specification of a workload's pods."""
    return one["spec"]["template"]["spec"]


def server_of(one: Any) -> Any:
    """Return the server's container of a workload."""
    return pod_of(one)["containers"][0]


# Planted mistakes: a name, what is changed in which kind of object, and the word by which a check names it.
MISTAKES: dict[str, tuple[str, Change, str]] = {
    "unknown field": ("Service", lambda one: one["spec"].update(typo="x"), "typo"),
    "unknown field of a pod": ("Rollout", lambda one: server_of(one).update(imagePullPolcy="Always"), "imagePullPolcy"),
    "wrong type": ("PodDisruptionBudget", lambda one: one["spec"].update(maxUnavailable=[1]), "maxUnavailable"),
    "wrong type in a policy": ("NetworkPolicy", lambda one: one["spec"].update(policyTypes="Egress"), "policyTypes"),
    "unknown field of a Rollout": ("Rollout", lambda one: one["spec"]["strategy"]["canary"].update(step=[]), "step"),
    "wrong type in a Rollout": (
        "Rollout", lambda one: one["spec"]["strategy"]["canary"]["steps"][0].update(setWeight="20"), "setWeight",
    ),
    "unknown field of a ServiceMonitor": (
        "ServiceMonitor", lambda one: one["spec"]["endpoints"][0].update(intervall="1s"), "intervall",
    ),
    "wrong duration": ("ServiceMonitor", lambda one: one["spec"]["endpoints"][0].update(interval="often"), "often"),
    "unknown field of an analysis": (
        "AnalysisTemplate", lambda one: one["spec"]["metrics"][0].update(failurelimit=1), "failurelimit",
    ),
    "selector of the service": ("Service", lambda one: one["spec"]["selector"].update(app="x"), "Service tiny"),
    "selector of the budget": (
        "PodDisruptionBudget", lambda one: one["spec"]["selector"]["matchLabels"].update(app="x"), "Budget tiny",
    ),
    "selector of the policy": (
        "NetworkPolicy", lambda one: one["spec"]["podSelector"]["matchLabels"].update(app="x"), "NetworkPolicy tiny",
    ),
    "selector of the workload": (
        "Rollout", lambda one: one["spec"]["selector"]["matchLabels"].update(app="x"), "Rollout tiny does not select",
    ),
    "selector of the monitor": (
        "ServiceMonitor", lambda one: one["spec"]["selector"]["matchLabels"].update(app="x"), "selects no Service",
    ),
    "port of the service": ("Service", lambda one: one["spec"]["ports"][0].update(targetPort="web"), "port web"),
    "port of the policy": (
        "NetworkPolicy", lambda one: one["spec"]["ingress"][0]["ports"][0].update(port=8000), "port 8000",
    ),
    "port of the monitor": ("ServiceMonitor", lambda one: one["spec"]["endpoints"][0].update(port="web"), "port web"),
    "probe to another port": (
        "Rollout", lambda one: server_of(one)["readinessProbe"]["httpGet"].update(port=9000), "readinessProbe",
    ),
    "no liveness probe": ("Rollout", lambda one: server_of(one).pop("livenessProbe"), "livenessProbe"),
    "target of the autoscaler": (
        "HorizontalPodAutoscaler", lambda one: one["spec"]["scaleTargetRef"].update(name="other"), "scales Rollout",
    ),
    "kind of the target": (
        "HorizontalPodAutoscaler", lambda one: one["spec"]["scaleTargetRef"].update(kind="Job"),
        "scales Job tiny",
    ),
    "fewest above most": ("HorizontalPodAutoscaler", lambda one: one["spec"].update(minReplicas=11), "from 11 to 10"),
    "request above the limit": (
        "Rollout", lambda one: server_of(one)["resources"]["requests"].update(memory="64Gi"), "above its limit",
    ),
    "no limit": ("Rollout", lambda one: server_of(one)["resources"]["limits"].pop("memory"), "no limit of memory"),
    "image by a tag": ("Rollout", lambda one: server_of(one).update(image="registry.example/demo:1"), "by its digest"),
    "image volume by a tag": (
        "Rollout",
        lambda one: next(
            v for v in pod_of(one)["volumes"] if "image" in v
        )["image"].update(reference="registry.example/m:1"),
        "by its digest",
    ),
    "config map": ("ConfigMap", lambda one: one["metadata"].update(name="other"), "names the ConfigMap"),
    "account": ("ServiceAccount", lambda one: one["metadata"].update(name="other"), "names the ServiceAccount"),
    "analysis": ("AnalysisTemplate", lambda one: one["metadata"].update(name="other"), "names the AnalysisTemplate"),
    "volume": ("Rollout", lambda one: pod_of(one)["volumes"].pop(0), "which is not there"),
    "namespace": ("Service", lambda one: one["metadata"].pop("namespace"), "namespace None"),
    "root": ("Rollout", lambda one: pod_of(one)["securityContext"].update(runAsNonRoot=False), "as root"),
    "seccomp": ("Rollout", lambda one: pod_of(one)["securityContext"].pop("seccompProfile"), "seccomp"),
    "writable": (
        "Rollout", lambda one: server_of(one)["securityContext"].update(readOnlyRootFilesystem=False), "not restricted",
    ),
    "capabilities": ("Rollout", lambda one: server_of(one)["securityContext"].pop("capabilities"), "not restricted"),
    "token": (
        "Rollout", lambda one: pod_of(one).update(automountServiceAccountToken=True), "get a token",
    ),
}  # fmt: skip


def test_without_a_mistake_all_checks_pass(sound: Objects) -> None:
    assert [one.outcome for one in judge({"production": sound})] == ["passed"] * 3


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(name: str, sound: Objects) -> None:
    kind, change, word = MISTAKES[name]
    objects = copy.deepcopy(sound)
    change(one_of(objects, kind))
    failed = [one for one in judge({"production": objects}) if one.outcome == "failed"]
    assert any(word in one.reason for one in failed), failed


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda one: one["spec"]["predictor"].update(minReplica=1), "minReplica"),
        (lambda one: one["spec"]["predictor"].update(maxReplicas="two"), "maxReplicas"),
        (lambda one: one["spec"]["predictor"]["model"].update(port=1), "port"),
        (lambda one: one["spec"]["predictor"]["model"]["livenessProbe"].update(every=1), "every"),
        (
            lambda one: one["spec"]["predictor"]["model"].update(runtime="other"),
            "names the ServingRuntime other",
        ),
        (lambda one: one["metadata"].update(name="other"), "scales Deployment"),
        (lambda one: one["spec"]["predictor"].pop("labels"), "does not select"),
    ],
)
def test_a_mistake_in_an_inference_service_is_found(
    change: Change, word: str, signed: tuple[Path, Path], tmp_path: Path
) -> None:
    objects = overlay(made(signed, tmp_path / "package", kind="kserve"))
    change(one_of(objects, "InferenceService"))
    failed = [one for one in judge({"production": objects}) if one.outcome == "failed"]
    assert any(word in one.reason for one in failed), failed


SCALING: dict[str, tuple[Change, str]] = {
    "a metric that nothing makes": (
        lambda one: one["spec"]["metrics"][0]["pods"]["metric"].update(name="edgehone_gpu_use"), "edgehone_gpu_use",
    ),
    "the same metric twice": (
        lambda one: one["spec"]["metrics"][0]["pods"]["metric"].update(name="edgehone_requests_per_second"), "twice",
    ),
    "an unknown kind of target": (
        lambda one: one["spec"]["metrics"][0]["pods"]["target"].update(type="Average"), "Average",
    ),
    "a misspelt value": (
        lambda one: one["spec"]["metrics"][0]["pods"]["target"].update(averageUse="7"), "averageUse",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALING)
def test_a_mistake_in_the_scaling_of_an_accelerator_is_found(
    name: str, two_accelerated: Objects, tmp_path: Path
) -> None:
    change, word = SCALING[name]
    objects = copy.deepcopy(two_accelerated)
    change(one_of(objects, "HorizontalPodAutoscaler"))
    failed = [one for one in judge({"production": objects}) if one.outcome == "failed"]
    assert any(word in one.reason for one in failed), failed


@pytest.fixture(scope="module")
def two_accelerated(tmp_path_factory: pytest.TempPathFactory, _finished: Finished) -> Objects:
    """The objects of an overlay for NVIDIA's GPUs."""
    place = tmp_path_factory.mktemp("accelerated")
    options = {"image": IMAGE, "unsigned": "yes", "image-nvidia": IMAGE}
    packed = pack(_finished.bundle, Order(targets.load("kubernetes"), place / "package", options))
    return overlay(packed, "production-nvidia")


def test_a_scaling_patch_of_a_metric_that_is_not_there_cannot_be_built(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    packed = made(signed, tmp_path / "package", image_nvidia=IMAGE)
    patch = packed.path / "manifests" / "components" / "nvidia" / "scaling.yaml"
    patch.write_text(patch.read_text("utf-8").replace("/spec/metrics/0", "/spec/metrics/7"))
    (check,) = check_overlays(packed.path, ["manifests/overlays/production-nvidia"])
    assert check.outcome == "failed" and "production-nvidia" in check.reason


def arguments_of(one: Any) -> Any:
    """Return the arguments of the first analysis of a Rollout."""
    return next(step for step in one["spec"]["strategy"]["canary"]["steps"] if "analysis" in step)[
        "analysis"
    ]["args"]


ARGUMENTS: dict[str, tuple[str, Change, str]] = {
    "one that is not given": ("Rollout", lambda one: arguments_of(one).pop(1), "does not give the argument stable"),
    "one that is misspelt": ("Rollout", lambda one: arguments_of(one)[0].update(name="pod"), "gives the argument pod,"),
    "of pods that are not known": (
        "Rollout", lambda one: arguments_of(one)[0]["valueFrom"].update(podTemplateHashValue="Newest"), "Newest",
    ),
    "both of the new pods": (
        "Rollout", lambda one: arguments_of(one)[1]["valueFrom"].update(podTemplateHashValue="Latest"), "themselves",
    ),
    "a source that is none": ("Rollout", lambda one: arguments_of(one)[0].update(valueOf={}), "valueOf"),
    "one that is not declared": (
        "AnalysisTemplate", lambda one: one["spec"]["args"].pop(2), "uses the argument namespace",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_mistake_in_the_arguments_of_an_analysis_is_found(name: str, sound: Objects) -> None:
    kind, change, word = ARGUMENTS[name]
    objects = copy.deepcopy(sound)
    change(one_of(objects, kind))
    failed = [one for one in judge({"production": objects}) if one.outcome == "failed"]
    assert any(word in one.reason for one in failed), failed


@functools.cache
def peers() -> Path:
    """Return the folder of the programs that judge with schemas of their own."""
    return Path(__file__).with_name("kubernetes")


@pytest.mark.long
def test_the_types_of_argo_rollouts_agree(sound: Objects, tmp_path: Path) -> None:
    npm, node = program("npm", "npm"), program("node", "nodejs")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path)]
    subprocess.run([*install, "@kubernetes-models/argo-rollouts@2.0.0"], check=True, timeout=300)
    documents = [one for one in sound if one["apiVersion"].startswith("argoproj.io")]
    shutil.copy(peers() / "argo.mjs", tmp_path / "argo.mjs")

    def judged(objects: Objects) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node, "argo.mjs"],
            cwd=tmp_path,
            input=json.dumps(objects),
            capture_output=True,
            text=True,
            check=False,
        )

    assert len(documents) == 2
    done = judged(documents)
    assert done.returncode == 0, done.stderr
    wrong = copy.deepcopy(documents)
    one_of(wrong, "Rollout")["spec"]["strategy"]["canary"]["steps"][0]["setWeight"] = "20"
    assert "setWeight" in judged(wrong).stderr


@pytest.mark.long
def test_the_models_of_kserve_agree(signed: tuple[Path, Path], tmp_path: Path) -> None:
    python = tmp_path / "peers" / "bin" / "python"
    subprocess.run([find_uv_bin(), "venv", "-q", str(tmp_path / "peers")], check=True, timeout=60)
    subprocess.run(
        [find_uv_bin(), "pip", "install", "-q", "--python", str(python), "kserve==0.21.0"],
        check=True,
        timeout=600,
    )
    packed = made(signed, tmp_path / "package", kind="kserve", **VOLUME)
    patch = (packed.path / "manifests" / "canary" / "05-percent.yaml").read_text("utf-8")
    service = one_of(with_canary(overlay(packed), patch), "InferenceService")

    def judged(one: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), str(peers() / "kserve_models.py")],
            input=json.dumps(one), capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = judged(service)
    assert done.returncode == 0, done.stdout + done.stderr
    for change, word in ((("minReplica", 1), "minReplica"), (("maxReplicas", "two"), "maxReplicas")):
        wrong = copy.deepcopy(service)
        wrong["spec"]["predictor"][change[0]] = change[1]
        assert word in judged(wrong).stdout
    service["spec"]["canary"][0]["traffic"] = 5
    assert "traffic is unknown" in judged(service).stdout
