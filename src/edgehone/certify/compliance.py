"""Compliance: the licence and its notices, where the artifact comes from, the model card, the parts of its software."""

from __future__ import annotations

import re

from edgehone.bundle.verify import verify
from edgehone.certify.found import Found, counted
from edgehone.certify.packages import installed
from edgehone.certify.profile import Rule
from edgehone.certify.subject import Subject

_LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice)", re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Licences of models that do not allow every use.
_RESTRICTED = re.compile(r"\bnc\b|non-?commercial|research|\bother\b", re.IGNORECASE)
_CARD = ("README.md", "MODEL_CARD.md")
# A model card of fewer characters says nothing of use, data and limits.
_LEAST_CARD = 200


def integrity(subject: Subject, rule: Rule) -> Found:
    """Count the files that are not as they were written."""
    return counted(
        verify(subject.bundle),
        f"{len(subject.bundle.manifest.files)} files are as they were written",
        n=len(subject.bundle.manifest.files),
    )


def licence(subject: Subject, rule: Rule) -> Found:
    """Check that the original's licence is known and allows production."""
    stated = subject.bundle.manifest.model.get("licence")
    if not stated:
        return counted(
            ["the original's licence is not known: neither a model card nor a licence file states it"], ""
        )
    if _RESTRICTED.search(str(stated)):
        reason = f"the licence {stated} does not allow every use: a person has to decide whether it allows this one"
        return Found(outcome="undecided", reason=reason, threshold="a licence that allows production")
    return counted([], f"the original's licence is {stated}", {"licence": stated})


def notices(subject: Subject, rule: Rule) -> Found:
    """Check that the bundle carries the text of the licence, or a model card that names it."""
    folder = subject.bundle.path / "notices"
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    names = [path.name for path in files]
    has_text = any(_LICENCE_FILE.search(name) for name in names)
    has_card = any(
        path.name in _CARD and _LICENCE_FILE.search(path.read_text("utf-8", "replace")) for path in files
    )
    problems = (
        []
        if has_text or has_card
        else ["the bundle carries no licence text and no model card that names one"]
    )
    return counted(problems, f"carried: {', '.join(names)}", {"files": names}, n=len(names))


def provenance(subject: Subject, rule: Rule) -> Found:
    """Count missing statements on the artifact's origin: original, data, software, device, command."""
    manifest, path = subject.bundle.manifest, subject.bundle.path
    problems = []
    digest = str(manifest.model.get("digest") or "")
    if not _DIGEST.fullmatch(digest):
        problems.append("the manifest has no digest of the original")
    if not manifest.texts or not all(_DIGEST.fullmatch(str(one)) for one in manifest.texts.values()):
        problems.append("the manifest has no digests of the evaluation and calibration data")
    if missing := [
        name for name in subject.env.versions if name not in manifest.versions.get(subject.backend, {})
    ]:
        problems.append(f"the manifest does not say which version of {missing[0]} built it")
    if not manifest.device.get("architecture"):
        problems.append("the manifest does not say on which device it was built")
    script = path / "reproduce.sh"
    if not script.is_file() or digest not in script.read_text("utf-8", "replace"):
        problems.append("reproduce.sh does not name the original by its digest")
    told = f"original {digest[:12]}, data, versions, device and command are stated"
    return counted(problems, told, {"texts": dict(manifest.texts), "versions": dict(manifest.versions)}, n=5)


def model_card(subject: Subject, rule: Rule) -> Found:
    """Check that the bundle carries a model card, and that the facts of the bill of materials' card are known."""
    model = subject.bundle.decision.model
    problems = [
        f"the decision does not state {name}"
        for name in ("architecture", "task", "parameters")
        if not model.get(name)
    ]
    cards = [subject.bundle.path / "notices" / name for name in _CARD]
    texts = [path.read_text("utf-8", "replace") for path in cards if path.is_file()]
    if not any(len(text) >= _LEAST_CARD for text in texts):
        problems.append(f"the original has no model card of {_LEAST_CARD} characters or more (README.md)")
    return counted(
        problems, "a model card of the original is carried", {"characters": [len(one) for one in texts]}
    )


def sbom(subject: Subject, rule: Rule) -> Found:
    """Count the parts of the software that the bill of materials cannot name with a version."""
    packages = subject.once(installed)
    stated = subject.bundle.manifest.versions.get(subject.backend, {})
    problems = [f"{name} has no version" for name, (version, _) in packages.items() if not version]
    if subject.env.versions and not stated:
        problems.append(f"the manifest does not list the software of {subject.backend}")
    listed = {name: {"version": version, "licence": licence} for name, (version, licence) in packages.items()}
    return counted(
        problems, f"{len(packages)} packages have a version", {"packages": listed}, n=len(packages)
    )
