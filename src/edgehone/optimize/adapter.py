"""The original of a run with an adapter: the base model with the adapter merged into it, kept until either changes."""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

from edgehone.core.errors import InputError, SetupError
from edgehone.core.events import Event
from edgehone.execution.home import HINT, file_lock, home
from edgehone.execution.job import Input
from edgehone.execution.pruning import MERGED, MERGED_NOTE, merged_lock
from edgehone.model import digest
from edgehone.model.inspect import inspect
from edgehone.model.stores.locate import named
from edgehone.optimize.options import OptimizeOptions
from edgehone.transform.adapters import config, keep, merge

# The names by which steps read the base and the adapter that is kept apart from it.
BASE, ADAPTER = "base", "adapter"


@dataclass(frozen=True)
class MergedOptions(OptimizeOptions):
    """Options whose model is the merged one; `base` is what the user gave."""

    base: str | Path = ""
    note: str = ""

    @property
    def given_model(self) -> str | Path:
        """The base model."""
        return self.base

    @property
    def notes(self) -> tuple[str, ...]:
        """What the merge did."""
        return (self.note,)


def with_adapter(options: OptimizeOptions) -> OptimizeOptions:
    """Return options whose model is the base with the adapter merged in; the same options if there is no adapter.

    The merged folder lies in EDGEHONE_HOME/merged and is made again if the base or the adapter changes, or if it was
    removed (`execution.pruning`). Raises ModelError if the adapter is for another base, SetupError if the disk is full.
    """
    if options.adapter is None:
        if options.keep_adapter:
            raise InputError(
                "--keep-adapter without an adapter", hint="give a PEFT folder with --adapter DIR"
            )
        return options
    folder = Path(options.adapter)
    adapter, base = config.read(folder), inspect(options.model)
    found = merge.check(adapter, base)
    if options.keep_adapter:
        keep.check(adapter, found)
    own = digest.combined(
        {name: digest.digest_file(folder / name) for name in (config.CONFIG, config.WEIGHTS)}
    )
    options.emit(Event("", detail=f"hashing {base.path}"))
    key = digest.combined({"base": digest.digest_model(base, home() / "digests"), "adapter": own})[:16]
    place = home() / MERGED / key
    # The folder's name becomes the model's: some tools read it.
    target = place / f"{named(options.model)}-{folder.resolve().name}"
    with file_lock(merged_lock(key)):
        if not (place / MERGED_NOTE).is_file():
            _make(options, adapter, target, place)
        (place / MERGED_NOTE).touch()  # it is used now (`execution.pruning`)
        note = json.loads((place / MERGED_NOTE).read_text("utf-8"))["note"]
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return MergedOptions(**{**given, "model": target}, base=options.model, note=note)


def kept_apart(options: OptimizeOptions) -> dict[str, Input]:
    """Return the base and the adapter as inputs of jobs if the adapter is kept apart from the base; else {}."""
    if not isinstance(options, MergedOptions) or not options.keep_adapter or options.adapter is None:
        return {}
    base, folder = inspect(options.base), Path(options.adapter).resolve()
    path = base.folder.resolve() / base.path.relative_to(base.folder)
    names = (config.CONFIG, config.WEIGHTS)
    own = digest.combined({name: digest.digest_file(folder / name) for name in names})
    identity = digest.digest_model(base, home() / "digests")
    return {BASE: Input(path, identity, base.files), ADAPTER: Input(folder, own, names)}


def _make(options: OptimizeOptions, adapter: config.AdapterConfig, target: Path, place: Path) -> None:
    base = inspect(options.model)
    shutil.rmtree(place, ignore_errors=True)  # what a killed run left
    place.mkdir(parents=True)
    free = shutil.disk_usage(place).free
    if base.bytes > free:
        raise SetupError(
            f"merging needs {base.bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {place}", hint=HINT
        )

    def progress(part: float) -> None:
        options.emit(Event("", detail=f"merging the adapter {adapter.folder.name}", fraction=part))

    try:
        made = merge.merge(adapter, base, target, progress)
        text = json.dumps({"note": made.note(adapter.folder), "tensors": made.tensors, "lost": made.lost})
        temporary = place / f".{MERGED_NOTE}"
        temporary.write_text(text, "utf-8")
        temporary.replace(place / MERGED_NOTE)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"no space left on the disk of {place} for the merged model", hint=HINT
            ) from error
        raise InputError(
            f"the adapter cannot be merged: {error}", hint=f"edgehone inspect {base.path}"
        ) from error
