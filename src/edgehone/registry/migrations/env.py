"""Run by Alembic: applies the migrations over the connection that `registry.database` opened."""

from __future__ import annotations

from alembic import context

from edgehone.registry.schema import METADATA


def _run() -> None:
    context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
    # The caller's transaction: all migrations are applied, or none.
    context.run_migrations()


_run()
