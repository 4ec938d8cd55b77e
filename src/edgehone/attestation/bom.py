"""The bill of materials: CycloneDX 1.7 with a model card, the software and data behind the model, and the checks.

https://cyclonedx.org/docs/1.7/json/ — the checks are declarations: each is a requirement of the profile, with a claim
that it holds, or a counterclaim, and the path of its evidence in the bundle.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from edgehone.attestation.certificate import Certificate, CheckResult
from edgehone.bundle.read import Bundle
from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate

_MODEL, _ORIGINAL, _ASSESSOR, _PROFILE = "model", "original-model", "assessor", "profile"
Software = Sequence[Mapping[str, Any]]
# The property of a component that says what uses it: engine, server.
USED_BY: Final = "edgehone:used_by"
# SPDX's identifiers of licences by those of model cards. CycloneDX takes SPDX's only; another licence is a name.
_SPDX: Final = {
    "agpl-3.0": "AGPL-3.0-only", "apache-2.0": "Apache-2.0", "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc0-1.0": "CC0-1.0",
    "gpl-2.0": "GPL-2.0-only", "gpl-3.0": "GPL-3.0-only", "isc": "ISC", "lgpl-3.0": "LGPL-3.0-only", "mit": "MIT",
    "mpl-2.0": "MPL-2.0", "unlicense": "Unlicense", "zlib": "Zlib",
}  # fmt: skip


def bill_of_materials(
    bundle: Bundle, certificate: Certificate, digests: Mapping[str, str], software: Software = ()
) -> dict[str, Any]:
    """Return the content of bom.cdx.json. `digests` are those of the bundle's files.

    `software` are the components that serve the bundle, as they were found; those that the manifest names are listed
    in any case.
    """
    there = {one["bom-ref"] for one in software}
    packages = [*software, *(one for one in _packages(bundle) if one["bom-ref"] not in there)]
    data = list(_data(bundle))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{certificate.artifact} {certificate.created}").urn,
        "version": 1,
        "metadata": {
            "timestamp": certificate.created,
            "tools": {
                "components": [{"type": "application", "name": "edgehone", "version": certificate.edgehone}]
            },
            "component": _model(bundle, certificate, digests),
        },
        "components": [_original(bundle), *packages, *data],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [_ORIGINAL, *(one["bom-ref"] for one in (*packages, *data))]}
        ],
        "declarations": _declarations(certificate),
        "definitions": {
            "standards": [
                {
                    "bom-ref": _PROFILE,
                    "name": f"edgehone profile {certificate.profile}",
                    "requirements": [
                        _requirement(number, one) for number, one in enumerate(certificate.checks)
                    ],
                }
            ]
        },
    }


def software_in(bill: Mapping[str, Any]) -> Software:
    """Return the components of a bill of materials that were found to serve the bundle."""
    return [
        one
        for one in bill["components"]
        if any(each.get("name") == USED_BY for each in one.get("properties", ()))
    ]


def _model(bundle: Bundle, certificate: Certificate, digests: Mapping[str, str]) -> dict[str, Any]:
    manifest = bundle.manifest
    files = [
        {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": _sha256(digest)}
        for name, digest in sorted(digests.items())
        if name.startswith(("artifact/", "tokenizer/"))
    ]
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": str(manifest.model.get("name") or "model"),
        "version": manifest.artifact_key,
        "description": bundle.decision.reason,
        **_licences(bundle),
        "modelCard": _card(bundle),
        "components": files,
        "properties": _properties(
            {
                "recipe": f"{manifest.recipe['backend']}/{manifest.recipe['name']}",
                "artifact": certificate.artifact,
                "decision": certificate.decision,
                "approval": certificate.approval,
                "device": str(certificate.device.get("cpu") or ""),
                "instruction_sets": ", ".join(certificate.instruction_sets),
            }
        ),
    }


def _original(bundle: Bundle) -> dict[str, Any]:
    model = bundle.manifest.model
    return {
        "type": "machine-learning-model",
        "bom-ref": _ORIGINAL,
        "name": str(model.get("name") or "model"),
        **_licences(bundle),
        "properties": _properties(
            {"digest": str(model.get("digest") or ""), "architecture": str(model.get("architecture") or "")}
        ),
    }


def _card(bundle: Bundle) -> dict[str, Any]:
    decision, manifest = bundle.decision, bundle.manifest
    candidate = decision.candidate(decision.bundled or "")
    model, workload = decision.model, decision.workload
    parameters = {
        "task": str(model.get("task") or workload.get("task") or manifest.kind),
        "architectureFamily": str(model.get("model_type") or ""),
        "modelArchitecture": str(model.get("architecture") or ""),
    }
    takes = [str(one.get("dtype")) for one in manifest.inputs] or ["text"]
    gives = [str(one.get("dtype")) for one in model.get("outputs") or ()] or ["text"]
    considerations = {
        "useCases": [f"the workload {workload.get('name')}"],
        "technicalLimitations": list(decision.notes),
        "performanceTradeoffs": [decision.reason],
    }
    return {
        "modelParameters": {
            **{name: value for name, value in parameters.items() if value},
            "datasets": [{"ref": f"data:{name}"} for name in manifest.texts],
            "inputs": [{"format": one} for one in takes],
            "outputs": [{"format": one} for one in gives],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": list(_metrics(candidate, str(workload.get("name") or "")))
        },
        "considerations": {name: value for name, value in considerations.items() if value},
    }


def _metrics(candidate: Candidate, workload: str) -> Iterator[dict[str, Any]]:
    """Yield the figures that have a value. A prediction is named so; a figure without an interval has none."""
    for name, figure in sorted(candidate.figures.items()):
        if figure.value is None:
            continue
        unit = f" ({figure.unit})" if figure.unit else ""
        predicted = ", predicted" if figure.predicted else ""
        yield {
            "type": f"{name}{unit}{predicted}",
            "value": repr(figure.value),
            **({"slice": f"workload {workload}"} if workload else {}),
            **_interval(figure),
        }


def _interval(figure: Figure) -> dict[str, Any]:
    if figure.low is None or figure.high is None:
        return {}
    return {"confidenceInterval": {"lowerBound": repr(figure.low), "upperBound": repr(figure.high)}}


def _packages(bundle: Bundle) -> Iterator[dict[str, Any]]:
    """Yield the packages of the backend that runs the artifact."""
    installed = bundle.manifest.versions.get(bundle.manifest.recipe["backend"], {})
    for name, version in sorted(installed.items()):
        # llama.cpp's version is followed by its commit, and it is no package of PyPI.
        plain = str(version).partition(" ")[0]
        kind = "generic" if name == "llama.cpp" else "pypi"
        normal = name if kind == "generic" else name.lower().replace("_", "-")
        purl = f"pkg:{kind}/{quote(normal)}@{quote(plain, safe='')}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": str(version), "purl": purl}


def _data(bundle: Bundle) -> Iterator[dict[str, Any]]:
    for name, digest in sorted(bundle.manifest.texts.items()):
        yield {
            "type": "data",
            "bom-ref": f"data:{name}",
            "name": f"{name} data",
            "data": [{"type": "dataset", "name": name}],
            "properties": _properties({"digest": str(digest)}),
        }


def _licences(bundle: Bundle) -> dict[str, Any]:
    """Return the model's licence, and where its notices are in the bundle."""
    licence = bundle.manifest.model.get("licence")
    notices = [name for name in bundle.manifest.files if name.startswith("notices/")]
    known = _SPDX.get(str(licence).lower())
    named = {"id": known} if known else {"name": str(licence)}
    return {
        **({"licenses": [{"license": named}]} if licence else {}),
        **(
            {"externalReferences": [{"type": "license", "url": quote(name)} for name in notices]}
            if notices
            else {}
        ),
    }


def _declarations(certificate: Certificate) -> dict[str, Any]:
    checks = list(enumerate(certificate.checks))
    return {
        "assessors": [
            {
                "bom-ref": _ASSESSOR,
                "thirdParty": False,
                "organization": {"name": f"edgehone {certificate.edgehone}, automatically"},
            }
        ],
        "attestations": [
            {
                "summary": _summary(certificate),
                "assessor": _ASSESSOR,
                "map": [_conformance(number, check) for number, check in checks],
            }
        ],
        "claims": [
            _claim(number, check) for number, check in checks if check.outcome in ("passed", "failed")
        ],
        "evidence": [
            {
                "bom-ref": f"evidence-{number}",
                "propertyName": check.name,
                "description": check.reason,
                "data": [{"name": check.evidence, "contents": {"url": quote(check.evidence)}}],
                "created": certificate.created,
            }
            for number, check in checks
            if check.evidence is not None
        ],
    }


def _summary(certificate: Certificate) -> str:
    words = {"yes": "approved", "conditional": "approved on conditions", "no": "not approved"}
    return "; ".join((f"{words[certificate.approval]} for {certificate.profile}", *certificate.conditions))


def _requirement(number: int, check: CheckResult) -> dict[str, Any]:
    return {
        "bom-ref": f"requirement-{number}",
        "identifier": check.name,
        "title": f"{check.category}: {check.name}",
        "text": check.threshold or "no problem is found",
    }


def _claim(number: int, check: CheckResult) -> dict[str, Any]:
    holds = "holds" if check.outcome == "passed" else "does not hold"
    return {
        "bom-ref": f"claim-{number}",
        "target": _MODEL,
        "predicate": f"{check.name} {holds}",
        "reasoning": check.reason,
        **({"evidence": [f"evidence-{number}"]} if check.evidence is not None else {}),
    }


def _conformance(number: int, check: CheckResult) -> dict[str, Any]:
    """Return how a requirement is met. One that was not decided has neither a claim nor a counterclaim."""
    claims: Sequence[str] = [f"claim-{number}"]
    said = {"passed": {"claims": claims}, "failed": {"counterClaims": claims}}.get(check.outcome, {})
    return {
        "requirement": f"requirement-{number}",
        **said,
        "conformance": {
            "score": 1.0 if check.outcome == "passed" else 0.0,
            "rationale": f"{check.outcome}: {check.reason}",
        },
    }


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": f"edgehone:{name}", "value": value} for name, value in values.items() if value]
