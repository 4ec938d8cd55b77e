"""package.json: the kind of a package, the files of the bundle that it carries, and the digests of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from edgehone.bundle.read import Bundle
from edgehone.bundle.schema import (
    BILL_OF_MATERIALS,
    CERTIFICATE,
    CERTIFICATE_PAGE,
    DECISION,
    MANIFEST,
    SIGNATURE,
    VERDICTS,
    digest_of,
    text_of,
)
from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.typed_json import OPTIONAL, Count
from edgehone.package.target import Carried, Deliverable, Proof

PACKAGE: Final = "package.json"
README: Final = "README.md"
DOCUMENTS: Final = "bundle"  # the folder with the documents of the bundle
# The documents of a bundle that every package carries, where the bundle has them.
CARRIED: Final = (MANIFEST, DECISION, CERTIFICATE, CERTIFICATE_PAGE, BILL_OF_MATERIALS, VERDICTS, SIGNATURE)
_HINT = "copy the package again from where it was made"


@dataclass(frozen=True)
class Filling:
    """What fills a deliverable: its size in bytes, its largest parts by name, and its limit in bytes."""

    path: str
    bytes: Count
    parts: Mapping[str, int]
    limit: Count | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package.

    `bundle` is the digest of the bundle (as `edgehone verify` prints it), `approval` what its certificate says ("none"
    without one). `budget` is the limit in bytes of each deliverable that has no other, None without a limit. `proofs`
    are the instruction sets that the quality figures hold for, `runs_on` the one that the package's own programs are
    compiled for. `files` maps each file but this one and the signature to its SHA-256. `digest` is that of package.json
    itself, made as the manifest's (`bundle.schema.digest_of`).
    """

    schema: Literal[1] = 1
    edgehone: str
    created: str
    target: str
    options: Mapping[str, str]
    bundle: str
    artifact: str
    recipe: str
    approval: Literal["yes", "conditional", "no", "none"]
    budget: Count | None
    fillings: tuple[Filling, ...]
    deliverables: tuple[Deliverable, ...]
    carried: tuple[Carried, ...]
    proofs: tuple[Proof, ...]
    runs_on: Proof | None = field(default=None, metadata=OPTIONAL)
    notes: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    files: Mapping[str, str]
    digest: str = field(default="", metadata=OPTIONAL)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict with the digest of its content."""
        data = asdict(self)
        return {**data, "digest": digest_of(data)}

    def write(self, folder: Path) -> None:
        """Write package.json into a folder."""
        (folder / PACKAGE).write_text(text_of(self.to_json()), "utf-8")


def documents_of(bundle: Bundle) -> list[str]:
    """Return the names of the documents of a bundle that packages carry, with the notices of licences."""
    notices = sorted(
        one.relative_to(bundle.path) for one in (bundle.path / "notices").rglob("*") if one.is_file()
    )
    return [name for name in CARRIED if (bundle.path / name).is_file()] + [one.as_posix() for one in notices]


def is_package(folder: Path) -> bool:
    """Return True if the folder is a package, possibly a damaged one, and not a bundle."""
    if (folder / MANIFEST).exists():
        return False
    documents = folder / DOCUMENTS
    if (documents / MANIFEST).exists() and not (
        documents / "artifact"
    ).exists():  # not a folder with a whole bundle
        return True
    try:
        return '"deliverables"' in (folder / PACKAGE).read_text("utf-8")
    except (OSError, ValueError):
        return False


def read_package(folder: Path) -> Package:
    """Return the package in a folder. Raises InputError if its package.json is missing, cut or edited."""
    path = folder / PACKAGE
    try:
        data: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder} is not a package: it has no {PACKAGE}", hint="edgehone package --help"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint=_HINT) from error
    return typed_json.read(Package, data, str(path), hint=_HINT)
