"""The registry of a served bundle: steps become events of its chain, and earlier versions are taken from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.bundle.read import read
from edgehone.core.errors import EdgehoneError, SetupError
from edgehone.operate.journal import Event, Journal
from edgehone.operate.options import Options, Say

if TYPE_CHECKING:
    from edgehone.registry.session import Registry, Version

_DETAIL = ("alert", "remedy", "plan", "why", "channel")


class Chain:
    """The registry, if one is given. It may be gone for a while: steps are kept in the journal until it is back."""

    def __init__(self, journal: Journal, options: Options) -> None:
        """Raises InputError or SetupError if the registry cannot be opened."""
        self._journal, self._options = journal, options
        self._told: str | None = None
        if options.registry is not None:
            self._open()

    def flush(self, say: Say) -> None:
        """Append the steps that are not in the chain yet. A registry that cannot be written is said once."""
        if self._options.registry is None or self._options.dry_run:
            return
        try:
            if events := self._journal.unchained():
                self._append(self._open(), events)
            self._told = None
        except EdgehoneError as error:
            if self._told != error.message:
                self._told = error.message
                say("warning", {"text": f"steps are kept until the registry is back: {error.message}"})

    def previous(self, model: str) -> Path | str:
        """Return the folder of the version before the served one, taken from the registry; or why there is none."""
        if self._options.registry is None:
            return "the version before is unknown without a registry: --registry"
        registry = self._open()
        version = self._version(registry, model)
        if version is None:
            return f"the bundle served as {model} is not a version of the registry"
        earlier = self._earlier(registry, version)
        if earlier is None:
            return f"{version.reference} has no approved version before it"
        from edgehone.registry.names import Reference
        from edgehone.registry.pull import pull

        out = self._journal.folder / "bundles" / f"{earlier.name.replace('/', '_')}-{earlier.number}"
        if not out.exists():
            pull(registry, Reference(earlier.name, number=earlier.number), out, key=self._options.verify_key)
        return out

    def _open(self) -> Registry:
        try:
            from edgehone.registry.session import open_registry
        except ModuleNotFoundError as error:
            raise SetupError(
                f"--registry needs the package {error.name}", hint='pip install "edgehone[registry]"'
            ) from error
        return open_registry(self._options.registry, self._options.blobs)

    def _append(self, registry: Registry, events: list[Event]) -> None:
        from edgehone.core.who import whoever
        from edgehone.registry.events import append

        models = {one.id: one.model for one in self._journal.incidents()}
        for event in events:
            model = models.get(event.incident or 0)
            version = self._version(registry, model) if model else None
            detail = {
                "operator": self._journal.id, "seq": event.seq, "at": event.at, "incident": event.incident,
                "step": event.kind, "why": event.says,
                **{name: event.detail[name] for name in _DETAIL[:3] if name in event.detail},
            }  # fmt: skip
            with registry.database.writing() as connection:
                if not self._is_there(connection, event):
                    append(
                        connection, "operate", version.name if version else model or "server", by=whoever(),
                        number=version.number if version else None, digest=version.digest if version else None,
                        detail=detail,
                    )  # fmt: skip
            self._journal.chained(event.seq)

    def _is_there(self, connection: Any, event: Event) -> bool:
        """Whether a run that was killed before it could note it has appended an event."""
        import sqlalchemy as sa

        from edgehone.registry.schema import EVENTS

        query = (
            sa.select(EVENTS.c.detail)
            .where(EVENTS.c.kind == "operate")
            .order_by(EVENTS.c.seq.desc())
            .limit(20)
        )
        found = (json.loads(row.detail) for row in connection.execute(query))
        return any((one.get("operator"), one.get("seq")) == (self._journal.id, event.seq) for one in found)

    def _version(self, registry: Registry, model: str) -> Version | None:
        """Return the version that is served: the one with the same artifact, made at the same time."""
        from edgehone.registry.listing import versions

        ways = self._journal.ways(model)
        if not ways:
            return None
        try:
            manifest = read(ways[-1][1]["path"]).manifest
        except EdgehoneError:
            return None
        wanted = {"artifact_key": manifest.artifact_key, "created": manifest.created}
        found = [one for one, _ in versions(registry) if _matches(one.facts, wanted)]
        return found[0] if found else None

    def _earlier(self, registry: Registry, version: Version) -> Version | None:
        from edgehone.registry.listing import versions

        found = [one for one, _ in versions(registry, version.name)]
        usable = [
            one for one in found if one.number < version.number and one.approval == "yes" and not one.removed
        ]
        return max(usable, key=lambda one: one.number, default=None)


def _matches(facts: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(facts.get(name) == value for name, value in wanted.items())
