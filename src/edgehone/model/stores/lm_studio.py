"""LM Studio's folder of models: PUBLISHER/NAME/FILE.gguf."""

from __future__ import annotations

import json
from pathlib import Path

from edgehone.core.errors import ModelError
from edgehone.core.suggestions import suggest
from edgehone.model.stores.choose import gguf_file


def folders() -> list[Path]:
    """Return where LM Studio keeps models, in the order in which they are searched.

    Its home is ~/.lmstudio, formerly ~/.cache/lm-studio, or what ~/.lmstudio-home-pointer names. The models are in its
    folder `models`, or in the one that the user has chosen, which its settings.json names.
    """
    pointer = Path.home() / ".lmstudio-home-pointer"
    homes = [Path.home() / ".lmstudio", Path.home() / ".cache" / "lm-studio"]
    if pointer.is_file():
        homes.insert(0, Path(pointer.read_text("utf-8", "replace").strip()))
    found = [folder for home in homes for folder in (_chosen(home), home / "models") if folder is not None]
    return list(dict.fromkeys(found))


def _chosen(home: Path) -> Path | None:
    """Return the folder of models that settings.json names; None if it names none, is missing or is not JSON."""
    try:
        stated = json.loads((home / "settings.json").read_text("utf-8")).get("downloadsFolder")
    except (OSError, ValueError, AttributeError):
        return None
    return Path(stated) if isinstance(stated, str) and stated else None


def locate(name: str) -> Path:
    """Return the model of PUBLISHER/NAME[:PART]: a GGUF file, or a folder with config.json (its MLX models).

    Raises ModelError if it is not there, or PART is needed to choose among several GGUF files.
    """
    path, _, part = name.partition(":")
    words = path.split("/")
    if len(words) != 2 or not all(words) or any(word.startswith(".") for word in words):
        raise ModelError(
            f"{name!r} is not a name of LM Studio",
            hint="write lmstudio:PUBLISHER/NAME or lmstudio:PUBLISHER/NAME:Q4_K_M",
        )
    for store in folders():
        folder = store.joinpath(*words)
        if folder.is_dir():
            return (
                folder
                if (folder / "config.json").is_file()
                else gguf_file(folder, part or None, f"lmstudio:{name}")
            )
    known = sorted(
        f"{folder.parent.name}/{folder.name}"
        for store in folders()
        for folder in store.glob("*/*")
        if folder.is_dir()
    )
    searched = ", ".join(map(str, folders()))
    raise ModelError(
        f"LM Studio has no model {name!r} (searched {searched})",
        hint=suggest(path, known, cutoff=0.4) if known else "give the path of the model's file",
    )
