"""What holds between the objects of an overlay: selectors match labels, names and ports that are referred to exist.

Schemas do not know this, and the API server does not either: a Service whose selector matches nothing is accepted, and
gets no request through. Each check returns the problems that it finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgehone.package.targets.kubernetes.kserve import Object, canary_problems, pod_of, predictors_of, said
from edgehone.package.targets.kubernetes.measured import check_arguments, check_metrics

_SUFFIXES: Final[Mapping[str, float]] = {
    "": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|Ki|Mi|Gi)?")
_PINNED = re.compile(r"\S+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Pods:
    """A kind of object that makes pods: the labels and the specification of these."""

    owner: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def containers(self) -> Sequence[Object]:
        """All containers, those of the start too."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]


def quantity(value: str | int | float) -> float:
    """Return a quantity of Kubernetes as a number. Raises ValueError."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is not a quantity")
    return float(match[1]) * _SUFFIXES[match[2] or ""]


def pods_of(objects: Sequence[Object]) -> list[Pods]:
    """Return what makes pods."""
    found = []
    for one in objects:
        if one["kind"] == "InferenceService":
            found += [Pods(one, item.get("labels", {}), pod_of(item)) for item in predictors_of(one)]
        elif "template" in one.get("spec", {}):
            template = one["spec"]["template"]
            found.append(Pods(one, template["metadata"].get("labels", {}), template["spec"]))
    return found


def problems_of(objects: Sequence[Object]) -> list[str]:
    """Return what is wrong between the objects of an overlay, of all checks."""
    return [problem for check in CHECKS for problem in check(objects)]


def check_namespaces(objects: Sequence[Object]) -> Iterator[str]:
    """All objects are in the namespace that is made with them."""
    made = [one["metadata"]["name"] for one in objects if one["kind"] == "Namespace"]
    if len(made) != 1:
        yield f"{len(made)} namespaces are made, in place of one"
    for one in objects:
        space = one["metadata"].get("namespace")
        if one["kind"] != "Namespace" and space not in made:
            yield f"{said(one)} is in the namespace {space}"


def check_selectors(objects: Sequence[Object]) -> Iterator[str]:
    """What selects pods selects those of every workload; a ServiceMonitor selects a Service."""
    pods = pods_of(objects)
    if not pods:
        yield "there is nothing that runs pods"
    for one in objects:
        wanted = _selector(one)
        if wanted is None:
            continue
        if one["kind"] == "ServiceMonitor":
            services = [item for item in objects if item["kind"] == "Service"]
            if not any(_matches(wanted, item["metadata"].get("labels", {})) for item in services):
                yield f"{said(one)} selects no Service"
        elif not wanted or not all(_matches(wanted, item.labels) for item in pods):
            yield f"{said(one)} does not select the pods of {', '.join(said(item.owner) for item in pods)}"


def _selector(one: Object) -> Mapping[str, str] | None:
    spec = one.get("spec", {})
    if one["kind"] == "Service":
        return dict(spec.get("selector", {}))
    if one["kind"] == "NetworkPolicy":
        return dict(spec["podSelector"].get("matchLabels", {}))
    if "selector" in spec:
        return dict(spec["selector"].get("matchLabels", {}))
    return None


def _matches(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def check_probes(objects: Sequence[Object]) -> Iterator[str]:
    """Each container has three probes, which ask a port of its own."""
    for item in pods_of(objects):
        for container in item.spec["containers"]:
            own = _ports(container)
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container.get(probe, {}).get("httpGet", {}).get("port")
                if asked not in own:
                    yield (
                        f"the {probe} of {said(item.owner)} asks the port {asked}, which {container['name']} has not"
                    )


def check_ports(objects: Sequence[Object]) -> Iterator[str]:
    """Services and policies name ports of containers, monitors those of services."""
    known = {port for item in pods_of(objects) for one in item.spec["containers"] for port in _ports(one)}
    services = [port for one in objects if one["kind"] == "Service" for port in one["spec"]["ports"]]
    named = {port.get("name") for port in services}
    for port in services:
        if port.get("targetPort", port["port"]) not in known:
            yield f"a Service leads to the port {port.get('targetPort')}, which no container has"
    for one in objects:
        if one["kind"] == "NetworkPolicy":
            rules = one["spec"].get("ingress", ())
            missing = [
                port["port"] for rule in rules for port in rule.get("ports", ()) if port["port"] not in known
            ]
            yield from (f"{said(one)} admits to the port {port}, which no container has" for port in missing)
        if one["kind"] == "ServiceMonitor":
            read = [endpoint.get("port") for endpoint in one["spec"].get("endpoints", ())]
            yield from (
                f"{said(one)} reads the port {port}, which no Service has"
                for port in read
                if port not in named
            )


def _ports(container: Object) -> set[Any]:
    """Return the names and numbers of a container's ports."""
    own = container.get("ports", ())
    return {port.get("name") for port in own} | {port["containerPort"] for port in own}


def check_scaling(objects: Sequence[Object]) -> Iterator[str]:
    """An autoscaler scales what exists, between a least and a most number."""
    known = {(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in objects}
    # KServe makes a Deployment of each predictor.
    known |= {
        ("apps/v1", "Deployment", f"{one['metadata']['name']}-predictor")
        for one in objects
        if one["kind"] == "InferenceService"
    }
    for one in objects:
        if one["kind"] != "HorizontalPodAutoscaler":
            continue
        spec, target = one["spec"], one["spec"]["scaleTargetRef"]
        if (target["apiVersion"], target["kind"], target["name"]) not in known:
            yield f"{said(one)} scales {target['kind']} {target['name']}, which is not there"
        if not 1 <= spec["minReplicas"] <= spec["maxReplicas"]:
            yield f"{said(one)} scales from {spec['minReplicas']} to {spec['maxReplicas']}"


def check_references(objects: Sequence[Object]) -> Iterator[str]:
    """ConfigMaps, accounts, volumes and analysis templates that are named exist."""
    known = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for item in pods_of(objects):
        volumes = {one["name"]: one for one in item.spec.get("volumes", ())}
        named = [("ServiceAccount", item.spec.get("serviceAccountName"))]
        named += [
            ("ConfigMap", one["configMap"].get("name")) for one in volumes.values() if "configMap" in one
        ]
        named += _named_by(item.owner)
        for kind, name in named:
            if (kind, name) not in known:
                yield f"{said(item.owner)} names the {kind} {name}, which is not there"
        for container in item.containers:
            for mount in container.get("volumeMounts", ()):
                if mount["name"] not in volumes:
                    yield f"{container['name']} of {said(item.owner)} mounts {mount['name']}, which is not there"


def _named_by(owner: Object) -> list[tuple[str, str]]:
    """Return what a workload itself names: the analyses of a Rollout, the runtimes of an InferenceService."""
    if owner["kind"] == "InferenceService":
        models = [one.get("model", {}) for one in predictors_of(owner)]
        return [("ServingRuntime", one["runtime"]) for one in models if "runtime" in one]
    steps = owner["spec"].get("strategy", {}).get("canary", {}).get("steps", ())
    templates = [one for step in steps for one in step.get("analysis", {}).get("templates", ())]
    return [("AnalysisTemplate", one["templateName"]) for one in templates]


def check_images(objects: Sequence[Object]) -> Iterator[str]:
    """Every image is named by its digest."""
    for item in pods_of(objects):
        images = [(one["name"], one["image"]) for one in item.containers]
        mounted = [one for one in item.spec.get("volumes", ()) if "image" in one]
        images += [(one["name"], one["image"].get("reference", "")) for one in mounted]
        for name, image in images:
            if not _PINNED.fullmatch(image):
                yield f"{name} of {said(item.owner)} has the image {image}, which is not named by its digest"


def check_resources(objects: Sequence[Object]) -> Iterator[str]:
    """Containers request processors and memory, and no more than their limits."""
    for item in pods_of(objects):
        for container in item.containers:
            what = f"{container['name']} of {said(item.owner)}"
            requests = container.get("resources", {}).get("requests", {})
            limits = container.get("resources", {}).get("limits", {})
            for name in ("cpu", "memory"):
                if name not in requests or name not in limits:
                    yield f"{what} has no request or no limit of {name}"
            for name, value in requests.items():
                if name in limits and quantity(value) > quantity(limits[name]):
                    yield f"{what} requests {value} of {name}, above its limit of {limits[name]}"


def check_restricted(objects: Sequence[Object]) -> Iterator[str]:
    """Pods keep to the pod security standard "restricted", and get no token of their account."""
    for item in pods_of(objects):
        pod = item.spec.get("securityContext", {})
        what = said(item.owner)
        if not pod.get("runAsNonRoot") or not pod.get("runAsUser"):
            yield f"the pods of {what} may run as root"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"the pods of {what} have no seccomp profile"
        if item.spec.get("automountServiceAccountToken") is not False:
            yield f"the pods of {what} get a token"
        for container in item.containers:
            own = container.get("securityContext", {})
            kept = own.get("allowPrivilegeEscalation") is False and own.get("readOnlyRootFilesystem") is True
            if not kept or own.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{container['name']} of {what} is not restricted"


def check_canaries(objects: Sequence[Object]) -> Iterator[str]:
    """KServe takes the canaries of an InferenceService."""
    for one in objects:
        if one["kind"] == "InferenceService":
            yield from canary_problems(one)


CHECKS: Final[Sequence[Callable[[Sequence[Object]], Iterator[str]]]] = (
    check_namespaces,
    check_selectors,
    check_probes,
    check_ports,
    check_scaling,
    check_references,
    check_images,
    check_resources,
    check_restricted,
    check_canaries,
    check_arguments,
    check_metrics,
)
