"""Folders that programs for laptops and desktops load: llama-server and Ollama."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgehone.bundle.read import Bundle
from edgehone.package.target import Built, Carried, Check, Deliverable, Option, Request, Tool

NAME: Final = "desktop"
SUMMARY: Final = "a folder for llama-server and Ollama"
TOOLS: Sequence[Tool] = ()
OPTIONS: Sequence[Option] = (Option("name", "name of the model"),)
BUDGET: int | None = None


def refuses(bundle: Bundle) -> str | None:
    """Return why these programs cannot run the bundle's artifact."""
    backend = bundle.manifest.recipe["backend"]
    return (
        None
        if backend == "llamacpp"
        else f"its artifact is {backend}'s; llama-server and Ollama load GGUF files"
    )


def build(request: Request, folder: Path) -> Built:
    """Write the folder."""
    (source,) = request.bundle.artifact.glob("*.gguf")
    name = request.options.get("name", request.bundle.manifest.model["name"])
    place = folder / name
    place.mkdir()
    shutil.copyfile(source, place / "model.gguf")
    (place / "Modelfile").write_text("FROM ./model.gguf\n", "utf-8")
    relative = source.relative_to(request.bundle.path).as_posix()
    return Built(
        (Deliverable(name, "folder for llama-server and Ollama"),),
        (Carried(relative, f"{name}/model.gguf"),),
        f"# {name}\n\n    llama-server -m {name}/model.gguf\n    ollama create {name} -f {name}/Modelfile\n",
    )


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Nothing independent is at hand."""
    return ()
