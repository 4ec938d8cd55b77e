"""Checks of the manifests: `kubectl kustomize` builds the overlays; strict schemas and the rules of `objects.py` judge.

The schemas of Kubernetes are those of the package kubernetes-validate; those of other kinds lie in `schemas/`.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from edgehone.package.target import Check
from edgehone.package.targets.kubernetes.canary import CANARY
from edgehone.package.targets.kubernetes.kserve import Object, said
from edgehone.package.targets.kubernetes.objects import pods_of, problems_of

# The oldest version whose pods take image volumes without a feature gate, and the newest with a schema.
VERSIONS: Final = ("1.35", "1.37")
FOREIGN: Final = ("ServiceMonitor", "Rollout", "AnalysisTemplate", "ServingRuntime", "InferenceService")
_PRODUCTION: Final = "manifests/overlays/production"
_BUILD, _SCHEMAS, _CUSTOM, _OBJECTS = (
    "kubectl kustomize",
    f"kubernetes-validate, strict, {' and '.join(VERSIONS)}",
    f"schemas of {', '.join(FOREIGN[:-1])} and {FOREIGN[-1]}",
    "references between the objects",
)


def check_overlays(package: Path, overlays: Sequence[str]) -> tuple[Check, ...]:
    """Return the outcomes of all checks of all overlays."""
    kubectl, missing = _kubectl(), _missing_module()
    if kubectl is None or missing:
        reason = "kubectl is not installed" if kubectl is None else f"{missing} is not installed"
        return tuple(Check(name, "skipped", reason) for name in (_BUILD, _SCHEMAS, _CUSTOM, _OBJECTS))
    built: dict[str, list[Object]] = {}
    for overlay in overlays:
        try:
            built[overlay] = build_overlay(package / overlay, kubectl)
        except ValueError as error:
            return (Check(_BUILD, "failed", f"{overlay}: {error}"),)
    told = f"{len(built)} overlays"
    if production := built.get(_PRODUCTION):
        for patch in sorted((package / "manifests" / CANARY).glob("*-percent.yaml")):
            built[patch.stem] = with_canary(production, patch.read_text("utf-8"))
    return (Check(_BUILD, "passed", told), *judge(built))


def with_canary(objects: Sequence[Object], patch: str) -> list[Object]:
    """Return the objects of an overlay after `kubectl patch --type=merge` with a patch of an InferenceService."""
    import yaml

    asked = yaml.safe_load(patch)
    found = []
    for one in objects:
        is_meant = one["kind"] == asked["kind"] and one["metadata"]["name"] == asked["metadata"]["name"]
        found.append({**one, "spec": {**one["spec"], **asked["spec"]}} if is_meant else one)
    return found


def judge(built: Mapping[str, Sequence[Object]]) -> tuple[Check, ...]:
    """Return the outcomes of the checks of built overlays."""
    rules = {_SCHEMAS: schema_problems, _CUSTOM: foreign_problems, _OBJECTS: problems_of}
    outcomes = []
    for name, find in rules.items():
        found = [f"{overlay}: {problem}" for overlay, objects in built.items() for problem in find(objects)]
        outcomes.append(Check(name, "failed" if found else "passed", "; ".join(found[:3])))
    return tuple(outcomes)


def build_overlay(overlay: Path, kubectl: str) -> list[Object]:
    """Return the objects of an overlay. Raises ValueError with Kustomize's message."""
    import yaml

    done = subprocess.run(
        [kubectl, "kustomize", str(overlay)], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise ValueError(done.stderr.strip()[-500:])
    if done.stderr.strip():  # such as a field that is deprecated
        raise ValueError(done.stderr.strip()[:500])
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def schema_problems(objects: Sequence[Object]) -> Iterator[str]:
    """Return what Kubernetes' own schemas do not allow: in objects, and in the pods of other kinds."""
    for version in VERSIONS:
        for one in _native(objects):
            if problem := _schema_problem(json.dumps(one, sort_keys=True), version):
                yield f"{said(one)}{problem}"


@functools.lru_cache(maxsize=512)
def _schema_problem(text: str, version: str) -> str | None:
    """Return what a version of Kubernetes does not allow in an object. Overlays share most of their objects."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate(json.loads(text), version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f", {'.'.join(map(str, error.path)) or 'top'}: {error.message[:200]}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return f": {error.message}"
    return None


def _native(objects: Sequence[Object]) -> Iterator[dict[str, Any]]:
    """Return the objects of Kubernetes' own kinds, and a Pod for those that other kinds make."""
    for one in objects:
        if one["kind"] not in FOREIGN:
            metadata = {key: value for key, value in one["metadata"].items() if key != "namespace"}
            yield {**one, "metadata": metadata}
    for item in pods_of(objects):
        if item.owner["kind"] in FOREIGN:
            metadata = {"name": item.owner["metadata"]["name"], "labels": dict(item.labels)}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(item.spec)}


def foreign_problems(objects: Sequence[Object]) -> Iterator[str]:
    """Return what the schemas of kinds that are not Kubernetes' own do not allow."""
    import jsonschema

    for one in objects:
        if one["kind"] in FOREIGN:
            for error in jsonschema.Draft202012Validator(foreign_schema(one["kind"])).iter_errors(one):
                yield f"{said(one)}, {'.'.join(map(str, error.path)) or 'top'}: {error.message[:200]}"


def foreign_schema(kind: str) -> dict[str, Any]:
    """Return the schema of a kind as strict JSON schema: unknown fields are not allowed."""
    place = files("edgehone.package.targets.kubernetes").joinpath("schemas", f"{kind}.json")
    schema = json.loads(place.read_text("utf-8"))
    schema["properties"]["metadata"] = {"type": "object"}
    return dict(_strict(schema))


def _strict(schema: Any) -> Any:
    """Return a schema of a custom resource in the words of JSON schema, without leave for unknown fields."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return {}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    strict = {
        key: _strict(value) for key, value in schema.items() if key not in ("properties", "required", "enum")
    }
    strict |= {key: schema[key] for key in ("required", "enum") if key in schema}
    if isinstance(properties := schema.get("properties"), dict):
        strict["properties"] = {name: _strict(value) for name, value in properties.items()}
        strict.setdefault("additionalProperties", False)
    return strict


def _kubectl() -> str | None:
    """Return kubectl: beside this Python, where pip puts it, else on the path."""
    return shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")


def _missing_module() -> str | None:
    packages = {"yaml": "PyYAML", "jsonschema": "jsonschema", "kubernetes_validate": "kubernetes-validate"}
    return next((package for name, package in packages.items() if find_spec(name) is None), None)
