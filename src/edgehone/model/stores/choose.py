"""Choose one of the GGUF files of a folder by a part of its name, such as Q4_K_M."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgehone.core.errors import ModelError
from edgehone.model import gguf


def gguf_file(folder: Path, part: str | None, name: str) -> Path:
    """Return the only GGUF file below `folder` whose name contains `part`, in any case; of split models the first file.

    Without `part`, it is the folder's only model. `name` is what the user wrote. Raises ModelError unless one fits.
    """
    files = models(folder)
    if not files:
        raise ModelError(f"{folder} holds no GGUF file, which {name} needs", hint=f"ls {folder}")
    paths = [file.relative_to(folder).as_posix() for file in files]
    fitting = fitting_names(paths, part)
    if len(fitting) == 1:
        return folder / fitting[0]
    listed = ", ".join(paths[:8]) + (", …" if len(paths) > 8 else "")
    what = f"{len(fitting)} files have {part!r} in their names" if part else f"there are {len(files)} models"
    base = name.removesuffix(f":{part}") if part else name
    raise ModelError(
        f"{name}: {what}: {listed}", hint=f"name one by a part of its name: {base}:{example(paths)}"
    )


def models(folder: Path) -> list[Path]:
    """Return the GGUF files below a folder that are models, or first parts of models: no projectors, no later parts."""
    found = (entry for entry in folder.rglob("*") if entry.suffix.lower() == ".gguf")
    return sorted(file for file in found if is_model(file.name))


def is_model(name: str) -> bool:
    """Return False for the later parts of split models and for projectors, which go with a model."""
    return not gguf.is_later_shard(Path(name)) and not Path(name).name.lower().startswith("mmproj")


def fitting_names(names: Iterable[str], part: str | None) -> list[str]:
    """Return the names that contain the part. A name that is the part, with or without .gguf, is the only one."""
    known = list(names)
    if part is None:
        return known
    exact = [name for name in known if name in (part, f"{part}.gguf")]
    return exact or [name for name in known if part.lower() in name.lower()]


def example(paths: list[str]) -> str:
    """Return a part of the first name that is likely to choose that file: what follows its last hyphen."""
    return paths[0].removesuffix(".gguf").rpartition("-")[2].rpartition("/")[2]
