"""The files of a bundle, and the type of its manifest.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.typed_json import OPTIONAL, Count, Salvage

MANIFEST = "manifest.json"
DECISION = "decision.json"
REPORT = "report.html"
SCHEMA: Final = 1
# A manifest, a decision or a certificate has some MB at most. A larger file would only take memory.
LARGEST: Final = 64 << 20
# What certification adds to a bundle (`edgehone.attestation`). The manifest does not list these files.
CERTIFICATE: Final = "certificate.json"
CERTIFICATE_PAGE: Final = "certificate.html"
BILL_OF_MATERIALS: Final = "bom.cdx.json"
DRIFT_REFERENCE: Final = "drift-reference.json"
CHECKS: Final = "certification"  # a folder with the evidence of the checks
VERDICTS: Final = "verdicts.sigstore.json"
SIGNATURE: Final = "signature.sigstore.json"
CERTIFICATION: Final = (
    CERTIFICATE, CERTIFICATE_PAGE, BILL_OF_MATERIALS, DRIFT_REFERENCE, CHECKS, VERDICTS, SIGNATURE,
)  # fmt: skip
# The keys of the recipe that are needed to run the artifact.
_RECIPE: Mapping[str, Any] = {"backend": str, "name": str, "settings": Mapping[str, Any]}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is needed to run the artifact, and the digests by which its files are verified.

    `approved` is false if the artifact does not pass every gate. `eos` are the ids that end a generated text,
    `tokenizer` says whose tokenizer makes the ids of a prompt: the original's in the folder `tokenizer`, or the
    runtime's own; `pictures` the prompt template of a vision-language model. `canaries` are prompts and the artifact's
    own greedy answers, as ids (`prompt`, `answer`), by which an engine is proven when it starts; some of a
    vision-language model have a `picture`, a file in the folder `canaries`, and the number of ids before it (`at`).
    Those of a graph are arrays in that folder. `embedding` says how an encoder makes a vector of a text, or why it is
    not known (`model.embedding`), `decoding` how an encoder-decoder generates (`model.encoder_decoder`). `batch` and
    `inputs` describe what a graph takes, `axes` where its samples are, `preprocessing` how the evaluation made arrays
    of `images` (`inputs.preprocessing`) or `audio` (`inputs.sound`), None if it had arrays or texts, `proven` the sizes
    and values of the inputs that a graph was evaluated with (`inputs.proven`). `target` is the device that the bundle
    was optimized for, None for `device`, on which it was built. `versions` maps a backend to the versions of its
    packages, `files` a path to its SHA-256. `digest` is that of the manifest itself (`digest_of`).
    """

    schema: Literal[1] = SCHEMA
    edgehone: str
    created: str  # UTC, ISO 8601
    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    artifact_key: str
    approved: bool = field(default=True, metadata=OPTIONAL)
    kind: Literal["language", "graph"] = field(default="language", metadata=OPTIONAL)
    eos: tuple[int, ...]
    tokenizer: Literal["original", "runtime"] = field(default="runtime", metadata=OPTIONAL)
    pictures: Any = field(default=None, metadata=OPTIONAL)
    canaries: tuple[Mapping[str, Any], ...] = field(default=(), metadata=OPTIONAL)
    embedding: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    decoding: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    batch: Count = field(default=1, metadata=OPTIONAL)
    inputs: tuple[Mapping[str, Any], ...] = field(default=(), metadata=OPTIONAL)
    axes: Mapping[str, Any] = field(default_factory=dict, metadata=OPTIONAL)
    preprocessing: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    proven: Mapping[str, Any] = field(default_factory=dict, metadata=OPTIONAL)
    versions: Mapping[str, Any]
    device: Mapping[str, Any]
    target: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    model: Mapping[str, Any]
    texts: Mapping[str, Any]
    files: Mapping[str, str]
    digest: str = field(default="", metadata=OPTIONAL)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict with the digest of its content."""
        data = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**data, "digest": digest_of(data)}


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's content: of its canonical JSON without the field `digest`."""
    content = {name: value for name, value in manifest.items() if name != "digest"}
    # Written and read once, so that the digest is the same before a manifest is written and after it is read.
    content = json.loads(json.dumps(content, allow_nan=False))
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def text_of(document: Any) -> str:
    """Return the text of a document of a bundle or package, of which each byte counts. Raises ValueError for NaN."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def read_manifest(data: Any, path: Path | str, salvage: Salvage | None = None) -> Manifest:
    """Return the manifest in `data`, parsed from the file at `path`.

    Raises InputError with the offending value if it is not one, unless `salvage` is given.
    """
    version = data.get("schema") if isinstance(data, Mapping) else SCHEMA
    if version != SCHEMA:
        message = f"{path} has schema {version!r}; this edgehone reads {SCHEMA}"
        if salvage is None:
            hint = "make the bundle again with this edgehone, or use the edgehone that made it"
            raise InputError(message, hint=hint)
        salvage.problems.append(message)
        data = {**data, "schema": SCHEMA}
    hint = f"run reproduce.sh: sh {Path(path).with_name('reproduce.sh')}"
    manifest = typed_json.read(Manifest, data, str(path), hint=hint, salvage=salvage)
    for key, annotation in _RECIPE.items():
        typed_json.read_value(
            annotation, manifest.recipe.get(key), f"recipe.{key}", str(path), hint=hint, salvage=salvage
        )
    return manifest


def is_certification(name: str) -> bool:
    """Return True if the file of that relative name was added by certification."""
    return name.partition("/")[0] in CERTIFICATION


def evidence_folder(bundle: Path, key: str) -> Path:
    """Return the folder of a candidate's raw samples."""
    return bundle / "evidence" / key.replace("/", "__")


def evidence_key(folder: Path) -> str:
    """Return the key of the candidate that an evidence folder belongs to: the inverse of `evidence_folder`."""
    return folder.name.replace("__", "/", 1)
