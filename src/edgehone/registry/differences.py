"""What changed between two versions: figures, verdicts, recipe, packages, data, and files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgehone.bundle.schema import DECISION, MANIFEST, Manifest, read_manifest
from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate, Decision
from edgehone.registry.modelpack import File
from edgehone.registry.names import Reference
from edgehone.registry.session import Registry, Version, find, manifest_of


@dataclass(frozen=True)
class FigureChange:
    """A figure of the bundled candidates. `differs`: by more than the interval of the difference."""

    name: str
    before: Figure | None
    after: Figure | None
    differs: bool


@dataclass(frozen=True)
class Differences:
    """What differs, by part. Values are (before, after), None where there is none.

    `comparable`: both were measured on one device with one model and workload, so that the figures can be compared.
    `shared_bytes` of `bytes` of the second version are in the first as well, as files or chunks of files.
    """

    before: str
    after: str
    comparable: bool
    figures: tuple[FigureChange, ...]
    verdicts: Mapping[str, tuple[Any, Any]]
    recipe: Mapping[str, tuple[Any, Any]]
    versions: Mapping[str, tuple[Any, Any]]
    data: Mapping[str, tuple[Any, Any]]
    files: Mapping[str, tuple[str | None, str | None]]
    shared_bytes: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


@dataclass(frozen=True)
class _Side:
    version: Version
    manifest: Manifest
    decision: Decision
    files: Mapping[str, File]

    @property
    def candidate(self) -> Candidate:
        return self.decision.candidate(self.decision.bundled or "")


def compare(registry: Registry, before: Reference, after: Reference) -> Differences:
    """Return what differs between two versions. Raises InputError if one is not there or damaged."""
    a, b = _side(registry, before), _side(registry, after)
    shared, size = _shared(registry, a, b)
    return Differences(
        a.version.reference,
        b.version.reference,
        _measured(a) == _measured(b),
        tuple(_figures(a.candidate, b.candidate)),
        _changes(_verdicts(a.candidate), _verdicts(b.candidate)),
        _changes(_flat(a.manifest.recipe), _flat(b.manifest.recipe)),
        _changes(_packages(a), _packages(b)),
        _changes(_data(a), _data(b)),
        _changes(*({path: file.digest for path, file in side.files.items()} for side in (a, b))),
        shared,
        size,
    )


def _side(registry: Registry, reference: Reference) -> _Side:
    with registry.database.reading() as connection:
        version = find(connection, reference)
    _, files = manifest_of(registry, version)
    by_path = {file.path: file for file in files}
    texts = {
        name: json.loads(registry.blobs.read_bytes(by_path[name].digest)) for name in (MANIFEST, DECISION)
    }
    manifest = read_manifest(texts[MANIFEST], f"{version.reference}/{MANIFEST}")
    decision = Decision.from_json(texts[DECISION], f"{version.reference}/{DECISION}")
    return _Side(version, manifest, decision, by_path)


def _measured(side: _Side) -> tuple[Any, ...]:
    decision = side.decision
    return decision.device.get("fingerprint"), decision.model.get("digest"), decision.workload


def _figures(a: Candidate, b: Candidate) -> Iterator[FigureChange]:
    for name in sorted(a.figures.keys() | b.figures.keys()):
        one, other = a.figures.get(name), b.figures.get(name)
        if one == other:
            continue
        both = one is not None and other is not None and one.value is not None and other.value is not None
        yield FigureChange(name, one, other, not both or not _tie(one, other))


def _tie(one: Figure | None, other: Figure | None) -> bool:
    return bool(one and other and (one.value == other.value or one.ties(other)))


def _verdicts(candidate: Candidate) -> dict[str, Any]:
    return {verdict.gate: verdict.word for verdict in candidate.verdicts}


def _packages(side: _Side) -> dict[str, Any]:
    return _flat({"edgehone": side.manifest.edgehone, **side.manifest.versions})


def _data(side: _Side) -> dict[str, Any]:
    manifest = side.manifest
    target = manifest.target or manifest.device
    device = {name: target.get(name) for name in ("name", "board", "cpu", "fingerprint") if target.get(name)}
    facts = {"approval": side.version.approval, "signed_by": side.version.signed_by}
    return _flat(
        {
            **facts,
            "model": manifest.model,
            "texts": manifest.texts,
            "device": device,
            "workload": side.decision.workload,
        }
    )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with dots in the names."""
    if not isinstance(data, Mapping):
        return {prefix: data}
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat.update(_flat(value, f"{prefix}.{name}" if prefix else str(name)))
    return flat


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = sorted(a.keys() | b.keys())
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}


def _shared(registry: Registry, a: _Side, b: _Side) -> tuple[int, int]:
    """Return how many bytes of the second version the first has too, and how many it has."""
    first = {piece for file in a.files.values() for piece in _pieces(registry, file)}
    second = {piece for file in b.files.values() for piece in _pieces(registry, file)}
    return sum(size for _, size in second & first), sum(size for _, size in second)


def _pieces(registry: Registry, file: File) -> list[tuple[str, int]]:
    chunked = registry.blobs.chunk_list(file.digest).exists()
    return registry.blobs.chunks_of(file.digest) if chunked else [(file.digest, file.size)]
