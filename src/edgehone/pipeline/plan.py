"""Which stages a file asks for, what each needs, and whether everything that they read is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edgehone.attestation.keys import read_signing_key
from edgehone.bundle.read import read
from edgehone.certify.profile import read_profile
from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.optimize.search.clock import seconds_of
from edgehone.pipeline.document import Document
from edgehone.pipeline.read import read_document, stages_of
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages import BY_NAME
from edgehone.pipeline.stages.common import data_inputs
from edgehone.pipeline.work import Work

# The stages that read the original.
_OF_MODEL = ("model_validation", "optimization", "testing")
_NEEDS_BUNDLE = ("testing", "packaging", "staging_deployment", "production_deployment", "monitoring")


class Asked(NamedTuple):
    """What a user asks for: the file, options that stand above it, and the folder of the run (None: by the file)."""

    file: Path
    model: str | None = None
    name: str | None = None
    bundle: str | None = None
    registry: str | None = None
    out: str | None = None
    changes: Sequence[str] = ()


def work_of(asked: Asked) -> Work:
    """Return the surroundings of the stages. Raises InputError for a file that cannot be used."""
    document = _with_options(read_document(asked.file, asked.changes), asked)
    out = Path(asked.out) if asked.out else Path(f"{asked.file.stem}-run")
    given = Path(asked.bundle).absolute() if asked.bundle else None
    return Work(document, asked.file.absolute().parent, out.absolute(), given, lambda text: None)


def _with_options(document: Document, asked: Asked) -> Document:
    pipeline = document.edge_ai_pipeline
    model, registry = pipeline.model, pipeline.registry
    if asked.model:
        model = replace(model, path=str(Path(asked.model).absolute()))
    if asked.name:
        model = replace(model, name=asked.name)
    if asked.registry:
        where = asked.registry if "://" in asked.registry else str(Path(asked.registry).absolute())
        registry = replace(registry, where=where)
    return replace(document, edge_ai_pipeline=replace(pipeline, model=model, registry=registry))


def planned(document: Document) -> list[Stage]:
    """Return the stages to run, each with the nearest stage before it that runs too in the place of what it needs."""
    names = stages_of(document)
    return [replace(BY_NAME[name], needs=_needed(name, names)) for name in names]


def _needed(name: str, names: Sequence[str]) -> str | None:
    needs = BY_NAME[name].needs
    while needs is not None and needs not in names:
        needs = BY_NAME[needs].needs
    return needs


def check_inputs(work: Work) -> None:
    """Raise InputError for what the stages would miss later: model, data, profile, keys, bundle."""
    names = stages_of(work.document)
    if any(name in names for name in _OF_MODEL):
        data_inputs(work)
    testing, deployment = work.pipeline.testing, work.pipeline.deployment
    if "optimization" in names and work.given:
        raise InputError("--bundle is for files without the stage optimization", hint="leave --bundle out")
    if "optimization" not in names and any(name in names for name in _NEEDS_BUNDLE):
        if work.given is None:
            raise InputError(
                f"{', '.join(names)}: no stage makes a bundle",
                hint="add the stage optimization, or --bundle BUNDLE",
            )
        read(work.given)
    if testing.soak:
        seconds_of(testing.soak, "testing.soak")
    if work.pipeline.optimization.time:
        seconds_of(work.pipeline.optimization.time, "optimization.time")
    if (profile := work.path(testing.profile)) is not None:
        read_profile(profile)
    for key in (work.path(testing.key), work.path(work.pipeline.packaging.key)):
        if key is not None:
            read_signing_key(str(key))
    if (
        deployment.server is not None
        and "production_deployment" in names
        and deployment.strategy == "blue_green"
    ):
        key = work.path(deployment.admin_key_file)
        if key is None or not key.is_file():
            raise InputError(
                f"deployment.admin_key_file is {deployment.admin_key_file!r}",
                hint="name the file that the server has as --admin-key-file",
            )


def check_stage(name: str, document: Document) -> str:
    """Return the name of a stage that the file has. Raises InputError for another one."""
    names = stages_of(document)
    if name not in names:
        raise InputError(
            f"the file has no stage {name!r}; {suggest(name, names)}", hint="edgehone pipeline check FILE"
        )
    return name
