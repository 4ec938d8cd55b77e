"""The history: any edit of it is seen, and it tells what an alias pointed to at any time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.registry import aliases, chain, events, moments
from edgehone.registry.names import Reference
from edgehone.registry.push import push
from edgehone.registry.schema import ALIASES, EVENTS, FILES, METADATA, REGISTRY, VERSIONS
from edgehone.registry.session import Registry, open_registry
from edgehone.registry.verify import verify
from tests.registry.bundles import Make, weights


@pytest.fixture
def used(any_registry: Registry, make: Make) -> Registry:
    """A registry with three versions and some moves of an alias."""
    for number in range(3):
        push(any_registry, make(weights(number, 100)), name="demo", by="ann")
    for number in (1, 2, 3):
        aliases.move(any_registry, "production", Reference("demo", number=number), by="ann", why="ok")
    aliases.roll_back(any_registry, "demo", "production", by="bob", why="bad")
    return any_registry


def edit(registry: Registry, *statements: sa.Executable) -> None:
    """Change the tables as somebody with the database's password could: without its triggers."""
    with registry.database.engine.begin() as connection:
        lite = connection.dialect.name == "sqlite"
        for name in ("events_keep", "events_stay"):
            connection.exec_driver_sql(f"drop trigger {name}" if lite else f"drop trigger {name} on events")
        for statement in statements:
            connection.execute(statement)


EDITS: dict[str, tuple[Callable[[], list[sa.Executable]], str]] = {
    "a reason": (
        lambda: [EVENTS.update().where(EVENTS.c.seq == 5).values(detail='{"why":"other"}')],
        "event 5 was changed",
    ),
    "a time": (lambda: [EVENTS.update().where(EVENTS.c.seq == 5).values(at="2020")], "event 5 was changed"),
    "who": (lambda: [EVENTS.update().where(EVENTS.c.seq == 5).values(by="eve")], "event 5 was changed"),
    "an event removed": (lambda: [EVENTS.delete().where(EVENTS.c.seq == 5)], "event 5 is missing"),
    "the last event removed": (lambda: [EVENTS.delete().where(EVENTS.c.seq == 7)], "events were removed"),
    "all events removed": (lambda: [EVENTS.delete()], "events were removed"),
    "an alias": (
        lambda: [ALIASES.update().values(version=1)],
        "demo:production points to version 1, but the last event says 2",
    ),
    "an alias removed": (lambda: [ALIASES.delete()], "points to version None"),
    "an approval": (
        lambda: [VERSIONS.update().where(VERSIONS.c.number == 2).values(approval="no")],
        "the version demo:2 was changed in the database: approval",
    ),
    "a digest": (
        lambda: [VERSIONS.update().where(VERSIONS.c.number == 2).values(digest="sha256:" + "0" * 64)],
        "the version demo:2 was changed in the database: digest",
    ),
    "a version removed": (
        lambda: [
            FILES.delete().where(FILES.c.version == 3),
            VERSIONS.delete().where(VERSIONS.c.number == 3),
        ],
        "the version demo:3 was removed",
    ),
    "a version put in": (
        lambda: [VERSIONS.update().where(VERSIONS.c.number == 3).values(number=9)],
        "demo:9 is in the database, but no event",
    ),
    "a file": (
        lambda: [FILES.update().where(FILES.c.path == "decision.json").values(path="other.json")],
        "the files of demo:1 were changed in the database",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_the_database_is_seen(used: Registry, name: str) -> None:
    statements, problem = EDITS[name]
    assert verify(used).problems == ()
    edit(used, *statements())
    assert any(problem in one for one in verify(used).problems), verify(used).problems


def test_a_history_written_anew_is_seen_by_who_noted_its_head(used: Registry) -> None:
    head = verify(used).head
    assert verify(used, head=head).problems == ()

    def write_anew(connection: Connection) -> None:
        rows = [dict(row._mapping) for row in connection.execute(sa.select(EVENTS).order_by(EVENTS.c.seq))]
        previous = rows[0]["previous"]
        for row in rows:
            row.update(by=row["by"].replace("ann", "eve"), previous=previous)
            row["hash"] = previous = events.hash_of(row)
            connection.execute(EVENTS.update().where(EVENTS.c.seq == row["seq"]).values(row))
        connection.execute(REGISTRY.update().values(head=previous))
        connection.execute(VERSIONS.update().values(pushed_by="eve"))

    edit(used)
    with used.database.engine.begin() as connection:
        write_anew(connection)
    assert verify(used).problems == ()
    assert verify(used, head=head).problems == (
        f"no event has the hash {head}: the history was written anew",
    )


@pytest.mark.parametrize("statement", [EVENTS.update().values(by="eve"), EVENTS.delete()])
def test_the_database_itself_refuses_to_change_events(used: Registry, statement: sa.Executable) -> None:
    with (
        pytest.raises(sa.exc.DBAPIError, match="append-only"),
        used.database.engine.begin() as connection,
    ):
        connection.execute(statement)


def test_at_tells_what_an_alias_pointed_to(used: Registry) -> None:
    with used.database.reading() as connection:
        times = list(connection.execute(sa.select(EVENTS.c.at).where(EVENTS.c.alias.is_not(None))).scalars())
        assert list(chain.check_chain(connection)) == []
    found = [moments.at(used, time, "production").moments[0] for time in times]
    assert [one.version.number for one in found if one.version] == [1, 2, 3, 2]
    assert [one.until for one in found] == [*times[1:], None]
    assert moments.at(used, "2020-01-01", "production").moments == ()
    middle = datetime.fromisoformat(times[1]) - timedelta(microseconds=1)
    (one,) = moments.at(used, middle.isoformat(), "production", "demo").moments
    assert one.version and one.version.number == 1
    assert moments.at(used, times[0], "staging").moments == ()


def test_at_reads_zones_and_refuses_what_is_to_come(used: Registry) -> None:
    assert moments.parse_time("2026-01-02T15:03+01:00") == "2026-01-02T14:03:00.000000+00:00"
    assert moments.parse_time("2026-01-02T14:03") == "2026-01-02T14:03:00.000000+00:00"
    for text in ("yesterday", "", "2026-13-01"):
        with pytest.raises(InputError, match="is not a time"):
            moments.at(used, text, "production")
    with pytest.raises(InputError, match="is to come"):
        moments.at(used, (datetime.now(UTC) + timedelta(hours=1)).isoformat(), "production")


def test_a_changed_history_proves_nothing(used: Registry) -> None:
    edit(used, EVENTS.update().where(EVENTS.c.seq == 5).values(by="eve"))
    with pytest.raises(InputError, match="proves nothing: event 5 was changed"):
        moments.at(used, "2026-01-01", "production")


def test_a_clock_that_was_set_back_does_not_change_the_order(
    registry: Registry, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(registry, make(), name="demo", by="ann")
    monkeypatch.setattr(events, "now", lambda: "2001-01-01T00:00:00.000000+00:00")
    aliases.move(registry, "production", Reference("demo", number=1), by="ann", why="ok")
    with registry.database.reading() as connection:
        times = list(connection.execute(sa.select(EVENTS.c.at).order_by(EVENTS.c.seq)).scalars())
    assert times[0] == times[1]


def test_the_migrations_make_the_tables_of_the_schema(any_registry: Registry) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with any_registry.database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_database_of_a_later_version_is_refused(registry: Registry) -> None:
    with registry.database.engine.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '9999'")
    with pytest.raises(InputError, match="has schema version 9999; this edgehone reads versions up to 0001"):
        open_registry(str(registry.blobs.folder))


def test_the_command_line(used: Registry, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ["--registry", used.database.label, "--blobs", str(used.blobs.folder)]
    if used.database.file:
        where = ["--registry", str(used.blobs.folder)]
    now = datetime.now(UTC).isoformat()
    assert main(["registry", "at", now, "production", *where, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["served"][0]["version"]["number"] == 2
    assert answer["served"][0]["event"]["detail"]["why"] == "bad"
    assert main(["registry", "verify", "--head", answer["proof"]["head"], *where]) == 0
    assert answer["proof"]["head"] in capsys.readouterr().out
    assert main(["registry", "verify", "--head", "0" * 64, *where]) == 1
    assert main(["registry", "at", now, "demo:production", *where]) == 0
    assert main(["registry", "at", now, "staging", *where]) == 1
