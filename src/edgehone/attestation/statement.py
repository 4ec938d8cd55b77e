"""The in-toto Statements of a bundle: its signature, its verdicts and its certificate.

All name files by SHA-256: the signature every file of the bundle but itself; the verdicts and the certificate those
that were there before them. So each of the three is about the same bytes, and `attestation.verify` checks that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from edgehone.attestation.certificate import (
    CERTIFICATE,
    PAGE,
    SIGNATURE,
    VERDICTS,
    Certificate,
)
from edgehone.attestation.errors import NotVerified
from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.decision.decision import Decision
from edgehone.model.digest import combined

STATEMENT: Final = "https://in-toto.io/Statement/v1"
CERTIFICATE_TYPE: Final = "urn:edgehone:certificate:v1"
VERDICTS_TYPE: Final = "urn:edgehone:verdicts:v1"
SIGNATURE_TYPE: Final = "https://model_signing/signature/v1.0"
# The files that are written after those that the certificate and the verdicts name.
_LATER = (CERTIFICATE, PAGE, VERDICTS, SIGNATURE)
_HINT = "certify the bundle again: edgehone certify BUNDLE"


def certificate_statement(certificate: Certificate, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of certificate.json."""
    return {
        "_type": STATEMENT,
        "subject": _subjects(digests),
        "predicateType": CERTIFICATE_TYPE,
        "predicate": asdict(certificate),
    }


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of certificate.json: of the statement and the certificate in it."""
    generated = typed_json.schema(Certificate)
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    subject = _closed({"name": {"type": "string"}, "digest": _closed({"sha256": digest})})
    predicate = generated.pop("$ref")
    return generated | _closed(
        {
            "_type": {"const": STATEMENT},
            "subject": {"type": "array", "items": subject},
            "predicateType": {"const": CERTIFICATE_TYPE},
            "predicate": {"$ref": predicate},
        }
    )


def verdicts_statement(decision: Decision, approved: bool, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the verdicts on the bundled candidate, with their intervals, as a statement about the files."""
    return {
        "_type": STATEMENT,
        "subject": _subjects(digests),
        "predicateType": VERDICTS_TYPE,
        "predicate": verdicts_of(decision, approved),
    }


def verdicts_of(decision: Decision, approved: bool) -> dict[str, Any]:
    """Return the predicate: the candidate, whether it passes every gate, and each verdict as decision.json has it."""
    candidate = decision.candidate(decision.bundled or "")
    return {
        "candidate": candidate.key,
        "approved": approved,
        "created": decision.created,
        "verdicts": [verdict.to_json() for verdict in candidate.verdicts],
    }


def signature_statement(name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the statement of OpenSSF model-signing 1 on the files of a bundle of that name."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _signed_digest(digests)}}],
        "predicateType": SIGNATURE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE],
            },
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digests[path]} for path in sorted(digests)
            ],
        },
    }


def signed_digests(statement: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of files in the statement of a signature. Raises NotVerified if it has another form."""
    if statement.get("predicateType") != SIGNATURE_TYPE:
        raise NotVerified(
            f"{SIGNATURE} is of the type {statement.get('predicateType')!r}, not {SIGNATURE_TYPE}", hint=_HINT
        )
    try:
        serialization = statement["predicate"]["serialization"]
        resources = statement["predicate"]["resources"]
        method = (serialization["method"], serialization["hash_type"])
        kinds = {one["algorithm"] for one in resources}
        digests = {str(one["name"]): str(one["digest"]) for one in resources}
    except (KeyError, TypeError, AttributeError) as error:
        raise NotVerified(f"{SIGNATURE} lacks {error}", hint=_HINT) from error
    if method != ("files", "sha256") or kinds - {"sha256"} or len(digests) != len(resources):
        raise NotVerified(f"{SIGNATURE} does not have one SHA-256 for each file", hint=_HINT)
    return digests


def read_certificate(statement: Any, digests: Mapping[str, str]) -> Certificate:
    """Return the certificate in a statement that must be about the files with those digests.

    Raises NotVerified if it is about others or is none.
    """
    predicate = _about(statement, CERTIFICATE, CERTIFICATE_TYPE, digests)
    try:
        return typed_json.read(Certificate, predicate, CERTIFICATE, hint=_HINT)
    except InputError as error:
        raise NotVerified(error.message, hint=error.hint) from error


def check_verdicts(statement: Any, decision: Decision, approved: bool, digests: Mapping[str, str]) -> None:
    """Raise NotVerified unless a statement has the verdicts of the decision and is about the files."""
    predicate = _about(statement, VERDICTS, VERDICTS_TYPE, digests)
    expected = verdicts_of(decision, approved)
    for name in (*expected, *predicate):
        if predicate.get(name) != expected.get(name):
            raise NotVerified(
                f"{VERDICTS} says another {name} than decision.json and manifest.json", hint=_HINT
            )


def subjects_of(statement: Any) -> dict[str, str]:
    """Return the digests of the files that a statement is about. Raises NotVerified if it does not name files."""
    try:
        return {str(one["name"]): str(one["digest"]["sha256"]) for one in statement["subject"]}
    except (KeyError, TypeError) as error:
        raise NotVerified(
            f"a statement's subjects are not files with their SHA-256: {error}", hint=_HINT
        ) from error


def named_files(digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of those files that the certificate and the verdicts name."""
    return {name: digest for name, digest in digests.items() if name not in _LATER}


def artifact_digest(digests: Mapping[str, str]) -> str:
    """Return one digest of the names and contents of the artifact's files, of the digests of a bundle's files."""
    return combined({name: digest for name, digest in digests.items() if name.startswith("artifact/")})


def _signed_digest(digests: Mapping[str, str]) -> str:
    """Return the subject's digest in a signature of OpenSSF model-signing: over digests in the order of their names.

    It is the same when a file is renamed; the names are signed in the list of resources.
    """
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(bytes.fromhex(digests[name]))
    return whole.hexdigest()


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has these properties, all of them and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _subjects(digests: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"name": name, "digest": {"sha256": digest}} for name, digest in sorted(named_files(digests).items())
    ]


def _about(statement: Any, source: str, kind: str, digests: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the predicate of a statement of that kind about the files."""
    if not isinstance(statement, Mapping) or statement.get("_type") != STATEMENT:
        raise NotVerified(f"{source} is no in-toto Statement v1", hint=_HINT)
    if statement.get("predicateType") != kind:
        raise NotVerified(
            f"{source} is of the type {statement.get('predicateType')!r}, not {kind}", hint=_HINT
        )
    if unknown := statement.keys() - {"_type", "subject", "predicateType", "predicate"}:
        raise NotVerified(f"{source} has unknown keys: {', '.join(sorted(map(repr, unknown)))}", hint=_HINT)
    subjects, predicate = statement.get("subject"), statement.get("predicate")
    if subjects != _subjects(digests):
        raise NotVerified(f"{source} is about other files: {_difference(subjects, digests)}", hint=_HINT)
    if not isinstance(predicate, Mapping):
        raise NotVerified(f"{source} has no predicate", hint=_HINT)
    return predicate


def _difference(subjects: Any, digests: Mapping[str, str]) -> str:
    """Return by which file the subjects of a statement differ from the files."""
    try:
        named = {str(one["name"]): one["digest"]["sha256"] for one in subjects}
    except (KeyError, TypeError):
        return "its subjects are not files with their SHA-256"
    expected = named_files(digests)
    for name in sorted({*named, *expected}):
        if name not in expected:
            return f"{name} is missing"
        if name not in named:
            return f"{name} was added"
        if named[name] != expected[name]:
            return f"{name} was changed"
    return "it names files twice or in another order"
