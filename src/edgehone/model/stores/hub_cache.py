"""The cache of the Hugging Face Hub: models--OWNER--NAME/{blobs, refs, snapshots/COMMIT}, and the names in it.

The files of a snapshot are links to blobs, which are named by a digest of their content. Layout: "Understand caching"
of the documentation of huggingface_hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import ModelError
from edgehone.core.suggestions import suggest
from edgehone.model.stores.choose import gguf_file, models

COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(
    r"(?P<owner>[A-Za-z0-9][\w.-]*)/(?P<name>[A-Za-z0-9][\w.-]*)"
    r"(?:@(?P<revision>[\w./-]+))?(?::(?P<part>[\w./-]+))?"
)
# Models of the hub's first years have no owner: gpt2 is in models--gpt2.
_OWNERLESS = re.compile(
    r"(?P<owner>)(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?(?::(?P<part>[\w./-]+))?"
)
_PREFIX = "models--"
# Files without which a model cannot be read. A missing target of another file's link, such as a picture, is no problem.
_NEEDED = {".json", ".safetensors", ".gguf", ".onnx", ".pt2", ".model", ".jinja", ".txt", ".data"}


@dataclass(frozen=True)
class HubName:
    """OWNER/NAME[@REVISION][:PART], without OWNER where the hub has none; `part` chooses a GGUF file."""

    owner: str
    name: str
    revision: str | None = None
    part: str | None = None

    @property
    def repository(self) -> str:
        """The name on the hub: OWNER/NAME, or NAME."""
        return f"{self.owner}/{self.name}" if self.owner else self.name

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{revision}" + (f":{self.part}" if self.part else "")


def parsed(text: str) -> HubName | None:
    """Return the parts of a hub name, or None if the text is none."""
    return _match(_NAME, text)


def _match(pattern: re.Pattern[str], text: str) -> HubName | None:
    match = pattern.fullmatch(text)
    if match is None or any(".." in (part or "") for part in match.groups()):
        return None
    return HubName(**match.groupdict())


def cache_folder() -> Path:
    """Return the cache's folder, by the variables that huggingface_hub reads; it need not exist."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(variable):
            return Path(value).expanduser()
    if value := os.environ.get("HF_HOME"):
        return Path(value).expanduser() / "hub"
    above = os.environ.get("XDG_CACHE_HOME")
    return (Path(above).expanduser() if above else Path.home() / ".cache") / "huggingface" / "hub"


def folder_of(name: HubName) -> Path:
    """Return the folder of a repository in the cache; it need not exist."""
    return cache_folder() / f"{_PREFIX}{name.repository.replace('/', '--')}"


def locate(text: str) -> Path | None:
    """Return the snapshot, or the GGUF file in it, of a hub name; None if the text is no name in the cache.

    Raises ModelError if the cache has the model but not the revision or the file.
    """
    name = parsed(text) or _match(_OWNERLESS, text)
    if name is None or not folder_of(name).is_dir():
        return None
    folder = snapshot(folder_of(name), name.revision)
    if name.part and not models(folder):
        raise ModelError(
            f"{folder} holds no GGUF file", hint=f"download it: edgehone optimize {name} --download"
        )
    return gguf_file(folder, name.part, str(name)) if name.part else folder


def snapshot_of(path: Path) -> Path | None:
    """Return the snapshot that a folder of the cache above the snapshots stands for; None for other paths.

    Raises ModelError for a blob, which has no name, and for a snapshot with a link whose target is missing.
    """
    repository = repository_of(path.absolute())
    if repository is None:
        return None
    inner = path.absolute().relative_to(repository).parts
    if not inner or inner == ("snapshots",):
        return snapshot(repository, None)
    if inner[0] == "blobs":
        raise ModelError(
            f"{path} is in the blobs of the hub's cache, whose files have no names",
            hint=f"give its snapshot: {repository}",
        )
    if inner[0] == "snapshots" and path.is_dir():
        check_links(path)
    return None


def repository_of(path: Path) -> Path | None:
    """Return the repository's folder of the cache that a path is or lies in, or None."""
    for folder in (path, *path.parents):
        if folder.name.startswith(_PREFIX) and (folder / "snapshots").is_dir():
            return folder
    return None


def hub_name_of(path: Path) -> str | None:
    """Return OWNER/NAME of the model that a path in the hub's cache belongs to, or None for other paths."""
    folder = repository_of(path.absolute())
    return folder.name.removeprefix(_PREFIX).replace("--", "/", 1) if folder is not None else None


def snapshot(repository: Path, revision: str | None) -> Path:
    """Return the folder of a revision: a commit, the beginning of one, or a name such as main (the default).

    Raises ModelError if the cache does not have it, or a link in it has no target.
    """
    commits = sorted(entry.name for entry in (repository / "snapshots").glob("*") if entry.is_dir())
    found = _commit(repository, revision, commits)
    if found is None:
        known = [*commits, *_references(repository)]
        raise ModelError(
            f"{repository} has no snapshot of the revision {revision or 'main'}",
            hint=suggest(revision or "main", known)
            if known
            else f"download it: edgehone optimize {_name(repository)} --download",
        )
    folder = repository / "snapshots" / found
    check_links(folder)
    return folder


def _commit(repository: Path, revision: str | None, commits: list[str]) -> str | None:
    reference = repository / "refs" / (revision or "main")
    if reference.is_file():
        stated = reference.read_text("utf-8", "replace").strip()
        if not COMMIT.fullmatch(stated) and stated not in commits:
            raise ModelError(f"{reference} holds {stated[:80]!r}, not a commit", hint=repair_hint(reference))
        return stated if stated in commits else None
    if revision is None:
        return commits[0] if len(commits) == 1 else None
    fitting = [commit for commit in commits if commit.startswith(revision)] if len(revision) >= 6 else []
    return fitting[0] if len(fitting) == 1 else None


def _references(repository: Path) -> list[str]:
    folder = repository / "refs"
    return sorted(entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if entry.is_file())


def check_links(folder: Path) -> None:
    """Raise ModelError if a link to a file that a model needs has no target, as after an interrupted download."""
    for link in _dangling(folder):
        raise ModelError(
            f"{link} is a link to {link.readlink()}, which does not exist: the download was interrupted, or the blob "
            "was deleted",
            hint=repair_hint(link),
        )


def _dangling(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() and entry.suffix.lower() in _NEEDED and not entry.exists():
            yield entry


def repair_hint(path: Path, otherwise: str = "copy or download the file again") -> str:
    """Return the command that downloads what a path in the cache lacks, or `otherwise` for a path elsewhere."""
    repository = repository_of(path.absolute())
    if repository is None:
        return otherwise
    return f"download what is missing: edgehone optimize {_name(repository)} --download"


def _name(repository: Path) -> str:
    return repository.name.removeprefix(_PREFIX).replace("--", "/", 1)
