"""The files of the package: base, components and overlays for Kustomize, from the templates in `templates/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edgehone.monitor.alert import Baselines
from edgehone.package.targets.kubernetes.accelerators import resource_of, table
from edgehone.package.targets.kubernetes.analysis import manifest, metrics, weights
from edgehone.package.targets.kubernetes.canary import write_canaries
from edgehone.package.targets.kubernetes.options import Image, Settings
from edgehone.package.targets.kubernetes.sizing import Sizes, factors
from edgehone.package.targets.kubernetes.texts import fill, text_of, write

MANIFESTS: Final = "manifests"
KEY_PATH: Final = "/etc/edgehone/key.pem"  # where the image looks for it
_POD: Final = "/spec/template/spec"
# The kind of each option: files, kind, paths of the pod and of the server's container in it, and name of the port.
_WORKLOADS: Final[Mapping[str, tuple[tuple[str, ...], str, str, str, str]]] = {
    "deployment": (("deployment",), "Deployment", _POD, f"{_POD}/containers/0", "http"),
    "rollout": (("rollout",), "Rollout", _POD, f"{_POD}/containers/0", "http"),
    "kserve": (
        ("servingruntime", "inferenceservice"),
        "InferenceService",
        "/spec/predictor",
        "/spec/predictor/model",
        "http1",
    ),
}


@dataclass(frozen=True)
class Content:
    """What the manifests are about: options, sizes, the bundle's version, and where its files come from.

    `source` is the image to mount or the artifact to pull, None if the server's image contains the bundle. `key` is the
    public key (PEM). `accelerator` is the one that the bundle itself needs. `baselines` are those of its certificate.
    """

    settings: Settings
    sizes: Sizes
    version: str
    source: str | None
    bundle_bytes: int
    key: str | None
    accelerator: str | None
    baselines: Baselines | None
    is_language: bool


def write_manifests(content: Content, package: Path) -> tuple[str, ...]:
    """Write all manifests; return the paths of the overlays in the package."""
    root = package / MANIFESTS
    values = _values(content)
    _write_base(content, values, root / "base")
    settings = content.settings
    accelerators = {
        **dict.fromkeys([content.accelerator] if content.accelerator else []),
        **settings.accelerated,
    }
    for name, image in accelerators.items():
        _write_component(name, image, values, settings, root / "components" / name)
    replicas = {"staging": (1, 2), "production": (settings.replicas, settings.most_replicas)}
    written = []
    for stage, counts in replicas.items():
        for accelerator in (content.accelerator, *settings.accelerated):
            beside = accelerator is not None and accelerator != content.accelerator
            overlay = root / "overlays" / (f"{stage}-{accelerator}" if beside else stage)
            _write_overlay(overlay, stage, counts, accelerator, values)
            written.append(overlay.relative_to(package).as_posix())
    if settings.kind == "kserve" and content.accelerator is None:
        write_canaries(settings, content.version, values, root / "canary")
    monitoring = root / "monitoring"
    monitoring.mkdir()
    (monitoring / "prometheus-adapter.yaml").write_text(text_of("prometheus-adapter.yaml"), "utf-8")
    return tuple(written)


def _values(content: Content) -> dict[str, str]:
    settings, sizes, known = content.settings, content.sizes, factors()
    names, kind, pod_path, container_path, port = _WORKLOADS[settings.kind]
    scaled = ("apps/v1", "Deployment", f"{settings.name}-predictor")
    if settings.kind != "kserve":
        scaled = ("argoproj.io/v1alpha1" if kind == "Rollout" else "apps/v1", kind, settings.name)
    values = {
        "name": settings.name,
        "namespace": settings.namespace,
        "labels": _labels(settings.name, content.version),
        "workload_files": "\n".join(f"- {name}.yaml" for name in names),
        "workload_kind": kind,
        "pod_path": pod_path,
        "container_path": container_path,
        "port_name": port,
        # KServe makes services of the names NAME and NAME-predictor itself.
        "service": f"{settings.name}-metrics" if settings.kind == "kserve" else settings.name,
        "scaled_api": scaled[0],
        "scaled_kind": scaled[1],
        "scaled_name": scaled[2],
        "request_seconds": str(settings.request_seconds),
        "parallel": str(settings.parallel),
        "grace_seconds": str(sizes.grace_seconds),
        "startup_period": str(known["startup_period_seconds"]),
        "startup_failures": str(sizes.startup_failures),
        "pre_stop_seconds": str(known["pre_stop_seconds"]),
        "progress_seconds": str(known["progress_seconds"] + sizes.startup_seconds),
        "cpu_request": json.dumps(sizes.cpu_request),
        "cpu_limit": json.dumps(sizes.cpu_limit),
        "memory": json.dumps(sizes.memory),
        "scratch": sizes.scratch,
        "cpu_percent": str(known["cpu_percent"]),
        "requests_per_second": json.dumps(sizes.requests_per_second),
        "clients": f"{settings.clients[0]}: {json.dumps(settings.clients[1])}",
        "monitoring_namespace": settings.monitoring_namespace,
        "image_name": settings.image.name,
        "image_digest": settings.image.digest,
        "pod_labels": "podTargetLabels:\n  - rollouts-pod-template-hash" if kind == "Rollout" else "",
    }
    values |= _model_values(content, values)
    values |= _step_values(content, values)
    values |= {"container": fill("container.yaml", values)}
    values |= {"server": fill("model.yaml" if settings.kind == "kserve" else "servers.yaml", values)}
    return {**values, "pod": fill("pod.yaml", values)}


def _labels(name: str, version: str) -> str:
    pairs = {
        "name": "edgehone",
        "instance": name,
        "version": json.dumps(version),
        "component": "server",
        "part-of": "edgehone",
        "managed-by": "kustomize",
    }
    return "\n".join(f"app.kubernetes.io/{key}: {value}" for key, value in pairs.items())


def _model_values(content: Content, values: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of a pod that bring the bundle, and those that verify it."""
    settings = content.settings
    place = f"/bundles/{settings.name}"
    pulls = settings.model == "init-pull"
    volume = {
        "baked": "",
        "image-volume": f"- name: model\n  image:\n    reference: {content.source}\n    pullPolicy: IfNotPresent",
        "init-pull": f"- name: model\n  emptyDir:\n    sizeLimit: {_mebibytes(content.bundle_bytes * 1.1)}\n"
        f"- name: pulled\n  emptyDir:\n    sizeLimit: {_mebibytes(content.bundle_bytes * 2.5)}",
    }[settings.model]
    trust = ["--key", KEY_PATH] if content.key else []
    # Another key has another name: it starts new pods, and one that pods use is never changed.
    key_name = f"{settings.name}-signing-key-{hashlib.sha256((content.key or '').encode()).hexdigest()[:10]}"
    pull = ["registry", "pull", str(content.source), "--out", place, *trust]
    own = {
        "key_mount": f"- name: signing-key\n  mountPath: {Path(KEY_PATH).parent}\n  readOnly: true"
        if content.key
        else "",
        "key_volume": f"- name: signing-key\n  configMap:\n    name: {key_name}" if content.key else "",
        "key_file": "- signing-key.yaml" if content.key else "",
        "key_name": key_name,
        "key": content.key or "",
        "model_mount": "- name: model\n  mountPath: /bundles\n  readOnly: true" if volume else "",
        "model_volume": volume,
        "verify_args": json.dumps(["verify", place, *trust, *(["--approved"] if content.key else [])]),
        "pull_args": json.dumps(pull),
        "pull_scratch": _mebibytes(content.bundle_bytes * 4),
        "puller": _image("puller", settings.puller),
        "registry_port": _registry_port(settings.repository),
        "configurations": "configurations:\n  - configurations.yaml" if settings.kind == "kserve" else "",
    }
    both = {**values, **own}
    return {
        **own,
        "verify": fill("verify.yaml", both),
        "pull": fill("pull.yaml", both) if pulls else "",
        "egress": fill("egress-pull.yaml", both)
        if pulls
        else "# none: nothing that runs here can call anybody\negress: []",
    }


def _step_values(content: Content, values: Mapping[str, str]) -> dict[str, str]:
    """Return the steps of a rollout, and what judges them: Prometheus, else a person, and then time."""
    settings = content.settings
    if settings.kind != "rollout":
        return {"steps": "", "metrics": "", "analysis_file": ""}
    judged = fill("analysis-step.yaml", values) if settings.prometheus else ""
    steps = []
    for number, weight in enumerate(weights(settings.most_replicas)):
        pause = "- pause: {}" if number == 0 else "- pause:\n    duration: 10m"
        steps.append(f"- setWeight: {weight}\n{(judged or pause).rstrip()}")
    asked = metrics(settings.name, content.baselines, content.is_language) if settings.prometheus else ()
    return {
        "steps": "\n".join(steps),
        "metrics": "\n".join(manifest(one, str(settings.prometheus)) for one in asked),
        "analysis_file": "- analysistemplate.yaml" if settings.prometheus else "",
    }


def _image(stands_for: str, image: Image | None) -> str:
    if image is None:
        return ""
    return f"- name: {stands_for}\n  newName: {image.name}\n  digest: {image.digest}"


def _registry_port(repository: str | None) -> str:
    port = urlsplit(f"//{repository}").port if repository else None
    return str(port or 443)


def _mebibytes(size: float) -> str:
    return f"{max(1, -int(-size // (1 << 20)))}Mi"


def _write_base(content: Content, values: Mapping[str, str], base: Path) -> None:
    names = ["serviceaccount", "service", "hpa", "pdb", "networkpolicy", "servicemonitor"]
    names.extend(_WORKLOADS[content.settings.kind][0])
    if content.settings.prometheus:
        names.append("analysistemplate")
    if content.key:
        names.append("signing-key")
    for name in names:
        write(base / f"{name}.yaml", fill(f"{name}.yaml", values))
    write(base / "kustomization.yaml", fill("base-kustomization.yaml", values))
    if content.settings.kind == "kserve":
        write(base / "configurations.yaml", text_of("configurations.yaml"))


def _write_component(
    name: str, image: Image | None, values: Mapping[str, str], settings: Settings, folder: Path
) -> None:
    """Write what makes a pod ask for an accelerator, and the image of its own bundle."""
    one = table()[name]
    resource = resource_of(name, settings.intel_driver)
    key, value = one["node_label"]
    swapped = (
        f"images:\n  - name: {settings.image.name}\n    newName: {image.name}\n    digest: {image.digest}"
        if image
        else ""
    )
    own = {
        **values,
        "images": swapped,
        "resource": resource,
        "resource_path": resource.replace("~", "~0").replace("/", "~1"),
        "node_label": f"{key}: {json.dumps(value)}",
    }
    runtime = one.get("runtime_class")
    own["runtime_class"] = fill("runtime-class.yaml", {**own, "class_name": runtime}) if runtime else ""
    write(folder / "kustomization.yaml", fill("component.yaml", own))
    if settings.kind == "kserve":
        write(folder / "configurations.yaml", text_of("configurations.yaml"))
    write(folder / "pod.yaml", fill("accelerator.yaml", own))
    scaling = one["scaling"]
    value = scaling.get("percent") or scaling["share"] * settings.parallel
    own |= {"scaling_metric": scaling["metric"], "scaling_value": json.dumps(f"{1000 * value:.0f}m")}
    write(folder / "scaling.yaml", fill("accelerator-scaling.yaml", own))


def _write_overlay(
    folder: Path, stage: str, replicas: tuple[int, int], accelerator: str | None, values: Mapping[str, str]
) -> None:
    own = {
        **values,
        "namespace": f"{values['namespace']}-{stage}",
        "least_replicas": str(replicas[0]),
        "most_replicas": str(replicas[1]),
        "components": f"components:\n  - ../../components/{accelerator}" if accelerator else "",
    }
    is_kserve = values["workload_kind"] == "InferenceService"
    own["stable_patch"] = fill("stable-patch.yaml", own) if is_kserve else ""
    write(folder / "kustomization.yaml", fill("overlay-kustomization.yaml", own))
    write(folder / "namespace.yaml", fill("namespace.yaml", own))
    write(folder / "replicas.yaml", fill("replicas.yaml", own))
    if is_kserve:
        write(folder / "stable-replicas.yaml", fill("stable-replicas.yaml", own))
