"""Download a model into the hub's cache of this machine, where other programs find it, too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from edgehone.core.errors import InputError, SetupError
from edgehone.core.events import Emit, Event
from edgehone.execution.home import file_lock, home
from edgehone.hub import listing
from edgehone.hub.fetch import Source, fetch
from edgehone.hub.listing import HubFile, Listing
from edgehone.hub.requests import Interrupted
from edgehone.model.stores import hub_cache
from edgehone.model.stores.choose import gguf_file
from edgehone.model.stores.hub_cache import HubName

# Marks a snapshot all of whose files were compared with their digests, so that a pinned commit needs no network again.
# huggingface_hub ignores hidden files beside the snapshots' folders.
_COMPLETE = ".edgehone-complete"


def download(text: str, emit: Emit, revision: str | None = None) -> Path:
    """Return the folder (or GGUF file) of a hub model, downloading what is missing. A path that exists is returned.

    `text`: OWNER/NAME[@REVISION][:PART]; `revision` is the same as @REVISION. Without one it is the newest of main, and
    the commit is told. Interrupted downloads are continued; every file is compared with the size and the digest that
    the hub states. Raises InputError if the hub does not have it or sends something else, SetupError for the network
    and a full disk.
    """
    name = hub_cache.parsed(text)
    if Path(text).exists():
        return Path(text)
    if name is None:
        raise InputError(
            f"'{text}' is neither a folder nor a hub name (OWNER/NAME)",
            hint="edgehone optimize OWNER/NAME --download",
        )
    if revision and name.revision and revision != name.revision:
        raise InputError(f"{text} and --revision {revision} name two revisions", hint="give one of them")
    name = HubName(name.owner, name.name, revision or name.revision, name.part)
    repository = hub_cache.folder_of(name)
    kept = _complete(repository, name)
    if kept is None:
        try:
            found = listing.read(name)
        except Interrupted as error:
            raise SetupError(
                f"the hub does not answer: {error}", hint="try again later, or give a folder of this machine"
            ) from error
        kept = _fill(repository, name, found, emit)
    emit(Event("", detail=f"{name.repository} at the commit {kept.name}"))
    return gguf_file(kept, name.part, str(name)) if name.part else kept


def _complete(repository: Path, name: HubName) -> Path | None:
    """Return the snapshot of a full commit that was downloaded whole, or None."""
    commit = name.revision or ""
    folder, marker = repository / "snapshots" / commit, _marker(repository, commit, name)
    if not hub_cache.COMMIT.fullmatch(commit) or not marker.is_file():
        return None
    files = marker.read_text("utf-8").splitlines()
    return folder if all((folder / file).is_file() for file in files) else None


def _marker(repository: Path, commit: str, name: HubName) -> Path:
    part = f"-{name.part.replace('/', '-')}" if name.part else ""
    return repository / f"{_COMPLETE}-{commit}{part}"


def _fill(repository: Path, name: HubName, found: Listing, emit: Emit) -> Path:
    blobs, snapshot = repository / "blobs", repository / "snapshots" / found.commit
    try:
        blobs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"{repository} cannot be created: {error.strerror}", hint="set HF_HUB_CACHE to another folder"
        ) from error
    with file_lock(home() / "locks" / f"hub-{repository.name}.lock"):  # two downloads do not write one file
        missing = [file for file in found.files if not _has(blobs, file)]
        _check_space(blobs, missing)
        told = _teller(name, sum(file.size for file in missing), emit)
        for file in missing:
            partial = blobs / f"{file.digest}.incomplete"
            fetch(Source(name.repository, found.commit), file, partial, told)
            partial.replace(blobs / file.digest)
    for file in found.files:
        _link(snapshot, file)
    if not hub_cache.COMMIT.fullmatch(name.revision or ""):
        _write(repository / "refs" / (name.revision or "main"), found.commit)
    _write(_marker(repository, found.commit, name), "\n".join(file.name for file in found.files))
    return snapshot


def _has(blobs: Path, file: HubFile) -> bool:
    path = blobs / file.digest
    return path.is_file() and path.stat().st_size == file.size


def _check_space(blobs: Path, missing: list[HubFile]) -> None:
    partials = [blobs / f"{file.digest}.incomplete" for file in missing]
    needed = sum(file.size for file in missing) - sum(one.stat().st_size for one in partials if one.exists())
    free = shutil.disk_usage(blobs).free
    if needed > free:
        raise SetupError(
            f"the download needs {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in {blobs}",
            hint="free some space, or set HF_HUB_CACHE to a folder on another disk",
        )


def _teller(name: HubName, total: int, emit: Emit) -> Callable[[int], None]:
    """Return a function that counts arrived bytes and announces each further per cent."""
    arrived, shown = 0, -1

    def on_bytes(count: int) -> None:
        nonlocal arrived, shown
        arrived += count
        percent = min(100 * arrived // max(total, 1), 100)
        if percent > shown:
            shown = percent
            emit(
                Event(
                    "",
                    detail=f"downloading {name}: {arrived / 1e6:.0f} of {total / 1e6:.0f} MB",
                    fraction=percent / 100,
                )
            )

    return on_bytes


def _link(snapshot: Path, file: HubFile) -> None:
    """Link a file of the snapshot to its blob, relative as huggingface_hub does; replaces a link to another blob."""
    path = snapshot / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    target = os.path.relpath(snapshot.parent.parent / "blobs" / file.digest, path.parent)
    if path.is_symlink() and str(path.readlink()) == target:
        return
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
