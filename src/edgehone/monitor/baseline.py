"""Baselines of bundles: what certification measured of them, out of their certificates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from edgehone.attestation.certificate import CERTIFICATE, Certificate
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.statement import read_certificate, subjects_of
from edgehone.attestation.verify import verify_bundle
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.monitor.alert import Baselines

_HINT = "give the folder of a certified bundle, or its certificate.json"


def read_baselines(path: Path, model: str | None = None) -> Baselines:
    """Return the baselines of a bundle, which is verified, or of a certificate's file.

    `model` is the name under which the bundle is served: that of its folder, if not stated. Raises InputError for a
    bundle without a certificate or baselines, and NotVerified for a certificate that is not about the bundle's files.
    """
    name = model or (path if path.is_dir() else path.absolute().parent).resolve().name
    if not path.exists():
        raise InputError(why_absent(path, f"no such bundle or certificate: {path}"), hint=_HINT)
    certificate = verify_bundle(path).certificate if path.is_dir() else _certificate(path)
    if certificate is None:
        raise InputError(
            f"{path} has no {CERTIFICATE}, so no baselines for alerts", hint=f"edgehone certify {path}"
        )
    return baselines_of(certificate, name, path)


def baselines_of(certificate: Certificate, model: str, path: Path) -> Baselines:
    """Return the baselines in a certificate of the bundle at `path`. Raises InputError if it has none."""
    found = baselines_in(certificate.monitoring, model)
    if not found.factors or not (found.figures or found.reasons):
        missing = "baselines" if found.factors else "factors of limits"
        bundle = path if path.is_dir() else path.parent
        raise InputError(
            f"the certificate of {path} has no {missing}: edgehone {certificate.edgehone} made it",
            hint=f"certify it again: edgehone certify {bundle}",
        )
    return found


def baselines_in(monitoring: Mapping[str, Any], model: str) -> Baselines:
    """Return the baselines in the field `monitoring` of a certificate."""
    figures, reasons = _figures(monitoring.get("baselines"))
    return Baselines(model, figures, _numbers(monitoring.get("factors")), reasons)


def _certificate(file: Path) -> Certificate:
    try:
        statement = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}", hint=_HINT) from error
    if not isinstance(statement, Mapping) or "subject" not in statement:
        raise InputError(f"{file} is no certificate of a bundle", hint=_HINT)
    try:
        return read_certificate(statement, subjects_of(statement))
    except NotVerified as error:
        raise InputError(f"{file}: {error.message}", hint=error.hint) from error


def _figures(baselines: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Return values by name, and the reasons of those that are missing."""
    figures, reasons = dict[str, float](), dict[str, str]()
    for name, one in baselines.items() if isinstance(baselines, Mapping) else ():
        if isinstance(one, Mapping) and _is_number(value := one.get("value")):
            figures[name] = float(value)
        elif isinstance(one, Mapping):
            reasons[name] = str(one.get("reason") or "the certificate does not tell why it is missing")
    return figures, reasons


def _numbers(factors: Any) -> dict[str, float]:
    found = factors.items() if isinstance(factors, Mapping) else ()
    return {name: float(value) for name, value in found if _is_number(value)}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
