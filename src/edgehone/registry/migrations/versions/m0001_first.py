"""Create the tables, and let the database itself refuse to change or delete an event."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    _versions()
    _events()
    for statement in _TRIGGERS[op.get_bind().dialect.name]:
        op.execute(statement)


def _versions() -> None:
    op.create_table(
        "registry",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("uid", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("head", sa.Text, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("pushed", sa.Text, nullable=False),
        sa.Column("pushed_by", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("approval", sa.Text, nullable=False),
        sa.Column("signed_by", sa.Text),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("removed", sa.Text),
        sa.UniqueConstraint("name", "number", name="one_version_of_a_number"),
        sa.UniqueConstraint("name", "digest", name="one_version_of_a_bundle"),
    )
    op.create_table(
        "files",
        sa.Column("version", sa.Integer, sa.ForeignKey("versions.id"), primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("files_by_digest", "files", ["digest"])
    op.create_table(
        "copies",
        sa.Column("version", sa.Integer, sa.ForeignKey("versions.id"), primary_key=True),
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("repository", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
    )


def _events() -> None:
    op.create_table(
        "aliases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("alias", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, sa.ForeignKey("versions.id"), nullable=False),
        sa.Column("event", sa.Integer, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("alias", sa.Text),
        sa.Column("number", sa.Integer),
        sa.Column("digest", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("events_by_name", "events", ["name", "alias", "seq"])


_TRIGGERS = {
    "sqlite": (
        "create trigger events_keep before update on events "
        "begin select raise(abort, 'events are append-only'); end",
        "create trigger events_stay before delete on events "
        "begin select raise(abort, 'events are append-only'); end",
    ),
    "postgresql": (
        "create function events_are_append_only() returns trigger language plpgsql as "
        "$$ begin raise exception 'events are append-only'; end $$",
        "create trigger events_keep before update or delete on events "
        "for each row execute function events_are_append_only()",
        "create trigger events_stay before truncate on events "
        "for each statement execute function events_are_append_only()",
    ),
}
