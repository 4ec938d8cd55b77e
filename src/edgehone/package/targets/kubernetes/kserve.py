"""What an InferenceService of KServe means: the pods that it makes, and which canaries KServe takes.

The rules of canaries are those of validateCanarySpecs in pkg/apis/serving/v1beta1/inference_service_validation.go of
KServe 0.20, which its webhook applies; the schema of the custom resource does not have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Object = Mapping[str, Any]
_MODE: Final = "serving.kserve.io/deploymentMode"
# Fields of a predictor and of its model that are KServe's; all others are those of a pod, and of a container.
_OF_PREDICTOR: Final = frozenset(
    {"labels", "annotations", "minReplicas", "maxReplicas", "timeout", "name", "model"}
)
_OF_MODEL: Final = frozenset(
    {"modelFormat", "runtime", "protocolVersion", "runtimeVersion", "storage", "storageUri"}
)
_SCALING: Final = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec")


def said(one: Object) -> str:
    """Return an object as a user names it."""
    return f"{one['kind']} {one['metadata']['name']}"


def predictors_of(service: Object) -> Sequence[Object]:
    """Return the predictors of an InferenceService: the stable one, and those of its canaries."""
    return [
        service["spec"]["predictor"],
        *(one.get("predictor", {}) for one in service["spec"].get("canary") or ()),
    ]


def pod_of(predictor: Object) -> dict[str, Any]:
    """Return the specification of the pods of a predictor: its model is the first container."""
    spec = {key: value for key, value in predictor.items() if key not in _OF_PREDICTOR}
    model = predictor.get("model")
    server = (
        {"name": "kserve-container", **{k: v for k, v in model.items() if k not in _OF_MODEL}}
        if model
        else None
    )
    return {**spec, "containers": [*([server] if server else []), *predictor.get("containers", ())]}


def canary_problems(service: Object) -> Iterator[str]:
    """Return why KServe would refuse the canaries of an InferenceService."""
    canaries: Sequence[Object] = service["spec"].get("canary") or ()
    if not canaries:
        return
    stable, what = service["spec"]["predictor"], said(service)
    if service["metadata"].get("annotations", {}).get(_MODE) != "Standard":
        yield f"{what} has a canary, which needs {_MODE}: Standard"
    if "model" not in stable:
        yield f"{what} has a canary, and its stable predictor has no model"
    names = [one.get("predictor", {}).get("name") for one in canaries]
    if None in names or len({*names, stable.get("name")}) != len(names) + 1:
        yield f"the predictors of {what} need different names: {[stable.get('name'), *names]}"
    shares = [one.get("trafficPercent") for one in canaries]
    if (
        total := sum(one for one in shares if isinstance(one, int))
    ) > 100:  # others are for the schema to name
        yield f"the canaries of {what} get {total} % of the requests"
    for one in canaries:
        yield from _predictor_problems(what, stable, one.get("predictor", {}))


def _predictor_problems(what: str, stable: Object, predictor: Object) -> Iterator[str]:
    if ("model" in predictor) == bool(predictor.get("containers")):
        yield f"the canary of {what} needs a model, and no container beside it"
    for field in _SCALING:
        if field in predictor:
            yield f"the canary of {what} has {field}; its number of pods is fixed"
    least = stable.get("minReplicas", 1)
    if predictor.get("minReplicas", 0) > least:
        yield f"the canary of {what} has {predictor['minReplicas']} pods, and the stable predictor at least {least}"
