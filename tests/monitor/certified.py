"""Certified bundles with baselines, and the programs that judge and run what is generated of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgehone.attestation.write import certify_bundle
from edgehone.certify.profile import read_profile
from edgehone.monitor.alert import Alert, Baselines, alerts
from tests.attestation.signed import EVIDENCE, certificate_of

FIGURES: Mapping[str, float] = {
    "served_p50_s": 0.005,
    "served_p95_s": 0.01,
    "served_first_token_p95_s": 0.003,
    "served_token_p95_s": 0.002,
    "served_requests_per_s": 50.0,
    "served_model_memory_bytes": 1e8,
    "accuracy": 0.97,
}
FACTORS: Mapping[str, float] = {
    "latency": 1.5, "memory": 1.2, "throughput": 0.7, "error_rate": 0.01, "accuracy": 0.95
}  # fmt: skip


def baselines(model: str = "bundle", **figures: float | None) -> Baselines:
    """Return baselines of a model, with some figures changed, or without them (None)."""
    known = {name: value for name, value in {**FIGURES, **figures}.items() if value is not None}
    return Baselines(
        model, known, FACTORS, {name: "not measured" for name, one in figures.items() if one is None}
    )


def all_alerts() -> tuple[Alert, ...]:
    """Return every alert, of one model."""
    return alerts([baselines()])


def monitoring(figures: Mapping[str, float] = FIGURES) -> dict[str, Any]:
    """Return the field `monitoring` of a certificate."""
    told = {name: {"value": value, "unit": "s"} for name, value in figures.items()}
    missing = {"value": None, "reason": "answers of language models have no classes"}
    return {
        "baselines": {"accuracy": missing, **told},
        "factors": vars(read_profile().monitoring),
        "alerts": [],
    }


def certify(bundle: Path, content: Mapping[str, Any] | None = None) -> Path:
    """Give a bundle a certificate with these baselines."""
    found = replace(certificate_of(bundle), monitoring=dict(monitoring() if content is None else content))
    certify_bundle(bundle, found, EVIDENCE, None)
    return bundle


def program(name: str, package: str) -> str:
    """Return the path of a program; skip the test without it, but not where CI is set."""
    found = shutil.which(name)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed: tools/system_packages.sh (Debian: {package})")
    assert found, f"{name} is not installed: tools/system_packages.sh"
    return found


def promtool(*words: str | Path, fine: bool = True) -> str:
    """Run promtool, which must succeed if `fine`, and fail otherwise. Returns what it says."""
    return _judged([program("promtool", "prometheus"), *map(str, words)], fine)


def amtool(*words: str | Path, fine: bool = True) -> str:
    """Run amtool in the same way."""
    return _judged([program("amtool", "prometheus-alertmanager"), *map(str, words)], fine)


def _judged(command: Sequence[str], fine: bool) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) is fine, said
    return said
