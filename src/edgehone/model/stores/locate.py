"""Turn what the user gave as MODEL into a path: a path of a file or folder, or the name of a model in a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError
from edgehone.model.stores import hub_cache, lm_studio, ollama

# Stores whose models have names, by the word before the colon.
STORES: Mapping[str, Callable[[str], Path]] = {"ollama": ollama.locate, "lmstudio": lm_studio.locate}


def locate(model: str | Path) -> Path:
    """Return the folder or file of a model.

    An existing path is returned as it is, except that a repository's folder of the hub's cache stands for its snapshot.
    `ollama:NAME[:TAG]` and `lmstudio:PUBLISHER/NAME[:PART]` name models of these stores, `OWNER/NAME[@REVISION][:PART]`
    a model of the hub's cache; PART is a part of a GGUF file's name, such as Q4_K_M. Names that no store has are
    returned as paths, so that the caller says what is missing.

    Raises ModelError for a name in a store that is not there or is damaged, and for a link whose target is missing.
    """
    text = str(model)
    store, colon, name = text.partition(":")
    path = Path(text)
    if colon and store in STORES and not _exists(path):
        return STORES[store](name)
    if _exists(path):
        return hub_cache.snapshot_of(path) or path
    if path.is_symlink():
        raise ModelError(why_absent(path, f"{path} is missing"), hint=hub_cache.repair_hint(path))
    return hub_cache.locate(text) or path


def named(model: str | Path) -> str:
    """Return a short name of a model for files that are made of it: without the store, the owner and the revision."""
    text = str(model)
    store, colon, rest = text.partition(":")
    if colon and store in STORES and not _exists(Path(text)):
        return rest.rpartition("/")[2].replace(":", "-")
    if _exists(Path(text)):
        folder = hub_cache.repository_of(Path(text).absolute())
        return (
            folder.name.rpartition("--")[2]
            if folder is not None and Path(text).is_dir()
            else Path(text).resolve().name
        )
    return (hub_cache.parsed(text) or Path(text).resolve()).name


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a NUL byte: `inspect` says so
        return False
