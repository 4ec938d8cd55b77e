"""An engine that is started again between before and after: what is compared begins anew."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgehone.monitor.alert import Baselines
from edgehone.operate.journal import Journal, Tried
from edgehone.operate.loop import _spent
from edgehone.operate.options import Options
from edgehone.operate.server import Look, Server
from edgehone.operate.treatment import RESTARTED, Treatment
from edgehone.operate.watching import Watcher
from edgehone.serve.buckets import SECONDS

URL = "http://127.0.0.1:8080"
KEY = ("latency_p50", ("m",))


def text(requests: int, seconds: float, restarts: int) -> str:
    """What the server tells: so many requests so far, all of which took so long."""
    name = "edgehone_request_seconds"
    buckets = [
        f'{name}_bucket{{le="{float(bound)}",model="m"}} {requests if seconds <= bound else 0}'
        for bound in SECONDS
    ]
    lines = [
        *(f"# TYPE {name} histogram", *buckets, f'{name}_bucket{{le="+Inf",model="m"}} {requests}'),
        *(f'{name}_sum{{model="m"}} {requests * seconds}', f'{name}_count{{model="m"}} {requests}'),
        *("# TYPE edgehone_engine_restarts gauge", f'edgehone_engine_restarts{{model="m"}} {restarts}'),
    ]
    return "\n".join(lines) + "\n"


def watcher() -> Watcher:
    return Watcher([Baselines("m", {"served_p50_s": 0.01}, {"latency": 1.5})])


def scraped(watcher: Watcher, times: range, restarts: int, seconds: float = 5.0) -> None:
    for at in times:
        watcher.scrape(at, text(20 * at, seconds, restarts))


def test_measurements_of_an_engine_that_has_ended_are_left_out() -> None:
    one = watcher()
    scraped(one, range(1, 401, 5), restarts=0)
    assert len(one.effects(KEY, 0.0)) > 20 and one.restarted("m") == one.restarted(None) == float("-inf")
    scraped(one, range(401, 431, 5), restarts=1)
    assert one.restarted("m") == one.restarted(None) == 401.0 and one.restarted("other") == float("-inf")
    # The first interval is still partly that of the engine before.
    assert len(one.effects(KEY, 0.0)) == 5


def begun(tmp_path: Path, one: Watcher) -> tuple[Treatment, Journal, list[str]]:
    """A remedy in a control group, which is a folder of files here: it is done, and about to be judged."""
    (tmp_path / "cpu.shares").write_text("1024")
    journal, told = Journal(tmp_path / "state", URL), list[str]()

    def tell(kind: str, says: str, incident: int | None = None, **detail: Any) -> None:
        told.append(f"{kind}: {says}")

    treatment = Treatment(Server(URL, None), journal, one, Options(), tell)
    incident = journal.open_incident("m", "latency", ["latency_p50"])
    plan = {
        "kind": "control_group", "model": "m", "folder": str(tmp_path), "file": "cpu.shares", "before": "1024",
        "after": "4096", "says": "more", "symptom": "latency",
    }  # fmt: skip
    treatment.begin(incident, "a larger share of the processors", plan, KEY, [0.2] * 30)
    return treatment, journal, told


def go_on(treatment: Treatment, journal: Journal) -> Tried | None:
    flying = journal.in_flight()
    if flying:
        treatment.go_on(flying, Look({}, [], {}))
    return journal.in_flight()


def test_a_remedy_is_undone_and_may_be_tried_again_if_the_engine_restarts_before_it_is_judged(
    tmp_path: Path,
) -> None:
    one = watcher()
    now = int(time.monotonic())
    # The alert on restarts is raised already: a first restart is taken for an effect of the remedy.
    scraped(one, range(now - 400, now - 300, 5), restarts=2)
    scraped(one, range(now - 300, now, 5), restarts=3)
    treatment, journal, told = begun(tmp_path, one)
    assert go_on(treatment, journal) and go_on(treatment, journal)  # done; what comes now is judged
    assert (tmp_path / "cpu.shares").read_text() == "4096"
    one.scrape(time.monotonic(), text(20 * now, 0.01, 4))
    assert go_on(treatment, journal) is None
    assert (tmp_path / "cpu.shares").read_text() == "1024" and any(RESTARTED in line for line in told)
    (tried,) = journal.tried(1)
    assert (tried.state, tried.why) == ("undone", RESTARTED)
    assert _spent([tried]) == set() and _spent([tried, tried]) == {tried.name}
    journal.close()
