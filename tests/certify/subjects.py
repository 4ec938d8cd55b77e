"""Bundles to certify: the finished one of the null backend, and copies with a planted defect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import edgehone
from edgehone.backends.null import table
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.certify.checks import CHECKS
from edgehone.certify.found import Found
from edgehone.certify.profile import Measure, read_profile
from edgehone.certify.subject import Sources, Subject
from tests.finished import list_again

# As little as tells the planted defects from none.
SMALL = Measure(
    windows=12,
    perturbed=8,
    long_windows=6,
    samples=64,
    latency_seconds=5.0,
    rounds=2,
    stress_seconds=0.6,
    soak_seconds=4.0,
)


def subject_of(bundle: Path, work: Path, sources: Sources | None = None, **measure: Any) -> Subject:
    """Return a bundle as the checks get it."""
    profile = replace(read_profile(), measure=replace(SMALL, **measure))
    work.mkdir(exist_ok=True)
    return Subject(edgehone.read(bundle), profile, sources or Sources(), work, lambda text: None)


def check(subject: Subject, name: str) -> Found:
    """Make one check."""
    one = next(one for one in CHECKS if one.name == name and subject.bundle.manifest.kind in one.kinds)
    return one.make(subject, subject.profile.checks[name])


def with_settings(bundle: Path, **settings: Any) -> Path:
    """Give the recipe of a bundle other runtime settings."""
    return with_manifest(bundle, recipe={**edgehone.read(bundle).manifest.recipe, "settings": settings})


def with_manifest(bundle: Path, **changes: Any) -> Path:
    """Change fields of a bundle's manifest as if it had been written so."""
    list_again(bundle)
    manifest = replace(edgehone.read(bundle).manifest, **changes)
    (bundle / MANIFEST).write_text(text_of(manifest.to_json()), "utf-8")
    return bundle


def with_model(bundle: Path, **changes: Any) -> Path:
    """Change what the manifest says of the original."""
    model: Mapping[str, Any] = edgehone.read(bundle).manifest.model
    return with_manifest(bundle, model={**model, **changes})


def with_table(bundle: Path, change: Any) -> Path:
    """Change the table of log-probabilities in the artifact of a bundle of the null backend."""
    artifact = bundle / "artifact"
    bits = json.loads((artifact / "null.json").read_text("utf-8"))["bits"]
    changed = np.array(table.load(artifact, bits))
    change(changed)
    for name in ("table.npy", "table.npz"):
        (artifact / name).unlink(missing_ok=True)
    table.save(artifact, changed, 32)
    list_again(bundle)
    return bundle
