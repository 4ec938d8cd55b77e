"""The target kubernetes: what its overlays are, that checks find planted mistakes, and which options are refused."""

from __future__ import annotations

import hashlib
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from edgehone.attestation.errors import NotVerified
from edgehone.bundle.read import read
from edgehone.core.errors import InputError
from edgehone.package import registry as targets
from edgehone.package.admission import settled
from edgehone.package.document import read_package
from edgehone.package.target import Request
from edgehone.package.targets.kubernetes import target
from edgehone.package.targets.kubernetes.checks import (
    _kubectl,
    build_overlay,
    check_overlays,
)
from edgehone.package.targets.kubernetes.objects import quantity
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack, time_of
from edgehone.serve.metrics import Metrics
from tests.attestation.signed import make_key
from tests.finished import Finished
from tests.package.manifests import (
    DIGEST,
    IMAGE,
    OTHER,
    PROMETHEUS,
    PULL,
    VOLUME,
    made,
    one_of,
    overlay,
    signed,
)
from tests.registry.servers import program

__all__ = ["signed"]  # a fixture

COMBINATIONS: dict[str, dict[str, str]] = {
    "deployment, baked": {"image-nvidia": f"registry.example/gpu@{OTHER}", "image-intel-gpu": IMAGE},
    "deployment, image volume": VOLUME,
    "kserve, init pull": {"kind": "kserve", **PULL},
    "kserve, image volume": {"kind": "kserve", **VOLUME, },
    "rollout, init pull": {**PROMETHEUS, **PULL},
    "rollout, baked, with an NPU": {"kind": "rollout", "image-intel-npu": f"registry.example/npu@{OTHER}"},
}  # fmt: skip


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_overlay_passes_every_check(name: str, signed: tuple[Path, Path], tmp_path: Path) -> None:
    packed = made(signed, tmp_path / "package", **COMBINATIONS[name])
    assert [one.outcome for one in packed.checks] == ["passed"] * 4, packed.checks
    folders = sorted(one.name for one in (packed.path / "manifests" / "overlays").iterdir())
    beside = [one.removeprefix("image-") for one in COMBINATIONS[name] if one.startswith("image-")]
    stages = ("production", "staging")
    assert folders == sorted([*stages, *(f"{stage}-{one}" for stage in stages for one in beside)])
    readme = (packed.path / "README.md").read_text("utf-8")
    assert all(f"kubectl apply -k manifests/overlays/{one}\n" in readme for one in folders)
    verify_package(packed.path)


def test_a_package_is_the_same_each_time(signed: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (made(signed, tmp_path / name, **VOLUME) for name in ("one", "two"))
    assert first.package.files == second.package.files


def test_a_pod_verifies_the_bundle_with_the_key_before_it_starts(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    objects = overlay(made(signed, tmp_path / "package", name="tiny", **VOLUME))
    pod = one_of(objects, "Deployment")["spec"]["template"]["spec"]
    (verify,) = pod["initContainers"]
    assert verify["args"] == ["verify", "/bundles/tiny", "--key", "/etc/edgehone/key.pem", "--approved"]
    config = one_of(objects, "ConfigMap")
    assert config["data"]["key.pem"] == signed[1].with_suffix(".pub").read_text() and config["immutable"]
    volumes = {one["name"]: one for one in pod["volumes"]}
    digest = hashlib.sha256(signed[1].with_suffix(".pub").read_bytes()).hexdigest()[:10]
    assert (
        volumes["signing-key"]["configMap"]["name"]
        == config["metadata"]["name"]
        == f"tiny-signing-key-{digest}"
    )
    # the server looks for the key where it is mounted (container/start.py), so it verifies as well
    for container in (verify, *pod["containers"]):
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        assert mounts == {"tmp": "/tmp", "signing-key": "/etc/edgehone", "model": "/bundles"}


def test_a_bundle_of_another_signer_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    other = make_key(tmp_path, "other")
    with pytest.raises(NotVerified):
        made(signed, tmp_path / "package", key=str(other.with_suffix(".pub")))
    assert not (tmp_path / "package").exists()


def test_without_a_key_the_package_says_so(finished: Finished, tmp_path: Path) -> None:
    order = Order(targets.load("kubernetes"), tmp_path / "package", {"image": IMAGE, "unsigned": "yes"})
    packed = pack(finished.bundle, order)
    objects = overlay(packed)
    (verify,) = one_of(objects, "Deployment")["spec"]["template"]["spec"]["initContainers"]
    assert verify["args"][:1] == ["verify"] and "--key" not in verify["args"]
    assert any("who signed the bundle is not checked" in note for note in packed.package.notes)


def test_the_image_of_the_bundle_is_what_skopeo_reads(signed: tuple[Path, Path], tmp_path: Path) -> None:
    skopeo = program("skopeo", "skopeo")
    packed = made(signed, tmp_path / "package", name="tiny", **VOLUME)
    source = f"oci:{packed.path / 'model-image'}:model"
    copied = tmp_path / "copied"
    subprocess.run([skopeo, "copy", "-q", "--all", "--preserve-digests", source, f"dir:{copied}"], check=True)
    digest = hashlib.sha256((copied / "manifest.json").read_bytes()).hexdigest()
    pod = one_of(overlay(packed), "Deployment")["spec"]["template"]["spec"]
    reference = next(one["image"]["reference"] for one in pod["volumes"] if "image" in one)
    assert reference == f"registry.example:5000/models/demo@sha256:{digest}"
    files = {one.relative_to(signed[0]).as_posix() for one in signed[0].rglob("*") if one.is_file()}
    assert {one.bundle for one in read_package(packed.path).carried} == files - {"signature.sigstore.json"}


def test_init_pull_names_the_digest_that_a_push_gives(signed: tuple[Path, Path], tmp_path: Path) -> None:
    from edgehone.registry.push import push
    from edgehone.registry.session import open_registry

    pushed = push(open_registry(str(tmp_path / "registry")), signed[0], name=None, by="me")
    pod = one_of(overlay(made(signed, tmp_path / "package", **PULL)), "Deployment")["spec"]["template"][
        "spec"
    ]
    pull = pod["initContainers"][0]
    assert pull["args"][2] == f"oci://registry.example:5000/models/demo@{pushed.version.digest}"
    assert pull["image"] == f"registry.example/edgehone@{OTHER}"
    policy = one_of(overlay(made(signed, tmp_path / "package", **PULL)), "NetworkPolicy")
    assert [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]] == [53, 53, 5000]


def test_sizes_follow_from_the_figures(signed: tuple[Path, Path], tmp_path: Path) -> None:
    opened = read(signed[0])
    figures = opened.decision.candidate(opened.decision.bundled or "")
    packed = made(signed, tmp_path / "package", request_seconds="300", parallel="4")
    pod = one_of(overlay(packed), "Deployment")["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    peak = figures.figure("peak_memory_bytes").value
    assert peak is not None
    per_token, context = (opened.decision.model[one] for one in ("kv_bytes_per_token", "context"))
    tokens = 4 * min(8192, context or 8192)
    least = peak * 1.25 + (per_token or 0) * tokens + (128 << 20)
    assert least <= quantity(server["resources"]["limits"]["memory"]) < least + (1 << 20)
    assert pod["terminationGracePeriodSeconds"] == 5 + 300 + 15
    assert server["args"] == ["--request-seconds", "300", "--parallel", "4"]
    probe = server["startupProbe"]
    load = (figures.figure("load_cold_ms").value or 0) / 1000
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60 + 20 * load
    scaler = one_of(overlay(packed), "HorizontalPodAutoscaler")["spec"]
    wanted = figures.figure("requests_per_s").value
    assert wanted is not None
    rate = quantity(scaler["metrics"][1]["pods"]["target"]["averageValue"])
    assert rate == pytest.approx(min(500, wanted * 0.7), abs=0.001)
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)


def test_the_metrics_that_are_named_are_those_of_the_server() -> None:
    exported = set(re.findall(r"^# TYPE (\w+)", Metrics([]).text().decode(), re.M))
    templates = Path(target.__file__).with_name("templates")
    rule = yaml.safe_load((templates / "prometheus-adapter.yaml").read_text("utf-8"))["rules"][0]
    assert rule["seriesQuery"].partition("{")[0] in exported
    assert rule["name"]["matches"] == "^edgehone_requests_total$"
    assert f"name: {rule['name']['as']}\n" in (templates / "hpa.yaml.template").read_text("utf-8")
    query = (templates / "analysistemplate.yaml.template").read_text("utf-8")
    assert set(re.findall(r"edgehone_\w+", query)) <= exported


def test_a_bundle_for_a_gpu_asks_for_one_in_every_overlay(signed: tuple[Path, Path], tmp_path: Path) -> None:
    opened = read(signed[0])
    recipe = {**opened.manifest.recipe, "backend": "openvino", "settings": {"device": "GPU.0"}}
    bundle = replace(opened, manifest=replace(opened.manifest, recipe=recipe))
    assert target.refuses(bundle) is None
    options = settled(target.OPTIONS, {"image": IMAGE, "unsigned": "yes", "intel-driver": "xe"}, "kubernetes")
    (tmp_path / "scratch").mkdir()
    package = tmp_path / "package"
    built = target.build(Request(bundle, options, time_of(bundle), tmp_path / "scratch", print), package)
    assert all(one.outcome == "passed" for one in target.check(package, built, tmp_path / "scratch"))
    kubectl = _kubectl()
    assert kubectl is not None
    for stage in ("staging", "production"):
        objects = build_overlay(package / "manifests" / "overlays" / stage, kubectl)
        pod = one_of(objects, "Deployment")["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"]["limits"]["gpu.intel.com/xe"] == "1"
        assert pod["nodeSelector"] == {"intel.feature.node.kubernetes.io/gpu": "true"}
    strange = replace(opened.manifest, recipe={**recipe, "settings": {"device": "Vulkan0"}})
    assert "Vulkan0" in (target.refuses(replace(opened, manifest=strange)) or "")


def test_an_overlay_for_an_accelerator_has_its_image(signed: tuple[Path, Path], tmp_path: Path) -> None:
    packed = made(signed, tmp_path / "package", image_nvidia=f"registry.example/gpu@{OTHER}")
    pod = one_of(overlay(packed, "production-nvidia"), "Deployment")["spec"]["template"]["spec"]
    images = {one["image"] for one in (*pod["initContainers"], *pod["containers"])}
    assert images == {f"registry.example/gpu@{OTHER}"}
    assert pod["runtimeClassName"] == "nvidia" and pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    plain = one_of(overlay(packed), "Deployment")["spec"]["template"]["spec"]
    assert plain["containers"][0]["image"] == IMAGE and "nodeSelector" not in plain


def test_an_overlay_of_kserve_for_an_accelerator_has_its_image(
    signed: tuple[Path, Path], tmp_path: Path
) -> None:
    packed = made(signed, tmp_path / "package", kind="kserve", image_nvidia=f"registry.example/gpu@{OTHER}")
    assert [one.outcome for one in packed.checks] == ["passed"] * 4, packed.checks
    predictor = one_of(overlay(packed, "production-nvidia"), "InferenceService")["spec"]["predictor"]
    images = {one["image"] for one in (*predictor["initContainers"], predictor["model"])}
    assert images == {f"registry.example/gpu@{OTHER}"}
    assert predictor["model"]["resources"]["limits"]["nvidia.com/gpu"] == "1"


WRONG: list[tuple[dict[str, str], str]] = [
    ({"image": "registry.example/edge/demo:1.0"}, "has no digest"),
    ({"image": "registry.example/edge/demo@sha256:abc"}, "image"),
    ({"image": f"demo@{DIGEST}"}, "image"),
    ({"name": "Not_A_Name"}, "'Not_A_Name'"),
    ({"name": "a" * 41}, "name"),
    ({"namespace": "-x"}, "'-x'"),
    ({"replicas": "0"}, "replicas"),
    ({"replicas": "1e3"}, "'1e3'"),
    ({"replicas": "3", "max-replicas": "2"}, "max-replicas"),
    ({"memory": "512 MB"}, "'512 MB'"),
    ({"memory": "0Mi"}, "memory"),
    ({"cpu": "two"}, "cpu"),
    ({"clients": "no label"}, "clients"),
    ({"requests-per-second": "-1"}, "requests-per-second"),
    ({"prometheus": "http://p:9090"}, "no effect"),
    ({"repository": "registry.example/models/demo"}, "no effect"),
    ({"kind": "rollout", "prometheus": "ftp://x"}, "'ftp://x'"),
    ({"kind": "daemonset"}, "daemonset"),
    ({"key": "signing.pub"}, "contradict"),
    ({"model": "image-volume"}, "repository"),
    ({"model": "image-volume", "repository": "registry.example/m:1"}, "repository"),
    ({"model": "init-pull", "repository": "registry.example/m"}, "pull-image"),
    ({**VOLUME, "image-nvidia": IMAGE}, "model=baked"),
    ({"monitoring-namespace": "a b"}, "monitoring-namespace"),
]


@pytest.mark.parametrize(("options", "word"), WRONG, ids=lambda one: str(one)[:60])
def test_a_wrong_option_is_named(
    options: dict[str, str], word: str, finished: Finished, tmp_path: Path
) -> None:
    given = {"image": IMAGE, "unsigned": "yes", **options}
    with pytest.raises(InputError, match=re.escape(word)) as refused:
        pack(finished.bundle, Order(targets.load("kubernetes"), tmp_path / "package", given))
    assert refused.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["image", "key"])
def test_a_missing_option_is_named(missing: str, finished: Finished, tmp_path: Path) -> None:
    given = {name: value for name, value in (("image", IMAGE), ("key", "signing.pub")) if name != missing}
    with pytest.raises(InputError, match=f"the option {missing} of kubernetes is missing"):
        pack(finished.bundle, Order(targets.load("kubernetes"), tmp_path / "package", given))


def test_what_kustomize_cannot_build_fails(signed: tuple[Path, Path], tmp_path: Path) -> None:
    packed = made(signed, tmp_path / "package")
    (packed.path / "manifests" / "base" / "service.yaml").unlink()
    (check,) = check_overlays(packed.path, ["manifests/overlays/staging"])
    assert check.outcome == "failed" and "service.yaml" in check.reason


def test_missing_programs_are_named(
    signed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgehone.package.targets.kubernetes.checks._kubectl", lambda: None)
    packed = made(signed, tmp_path / "package")
    assert {(one.outcome, one.reason) for one in packed.checks} == {("skipped", "kubectl is not installed")}
