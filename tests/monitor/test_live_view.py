"""The live view: figures of the last minute, servers that go away or are something else, lines, tables and JSON."""

from __future__ import annotations

import io
import json
import math
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehone.cli.main import main
from edgehone.core.errors import InputError, JobError
from edgehone.monitor.alert import alerts
from edgehone.monitor.live import terminal
from edgehone.monitor.live.view import machine_of, models_between, reading_in
from edgehone.monitor.live.watch import Watch, Watched, views
from edgehone.monitor.server import Access, scrape
from tests.finished import Finished
from tests.serve.server import running

EDGEHONE = [sys.executable, "-m", "edgehone.cli.main"]


def text(
    requests: int = 0, *, ready: int = 1, evidence: float = -0.1, alarm: int = 0, failed: int = 0
) -> str:
    """The text of /metrics of a server that has answered so many requests, each in 70 ms."""
    lines = [
        "# HELP edgehone_ready Whether.", "# TYPE edgehone_ready gauge", f'edgehone_ready{{model="m"}} {ready}.0',
        *(f'edgehone_request_seconds_bucket{{le="{bound}",model="m"}} {requests if bound > 0.05 else 0}.0'
          for bound in (0.05, 0.1, math.inf)),
        f'edgehone_generated_tokens_total{{model="m"}} {20 * requests}.0',
        f'edgehone_failures_total{{model="m",reason="engine"}} {failed}.0',
        'edgehone_waiting_requests{model="m"} 3.0', 'edgehone_running_requests{model="m"} 2.0',
        'edgehone_engine_restarts{model="m"} 1.0',
        f'edgehone_cpu_seconds_total{{part="engine",model="m"}} {requests / 10}',
        'edgehone_resident_memory_bytes{part="engine",model="m"} 1.5e9',
        'edgehone_resident_memory_bytes{part="text",model="m"} 5e8',
        'edgehone_machine_temperature_celsius{zone="a"} 50', 'edgehone_machine_temperature_celsius{zone="b"} 61',
        'edgehone_disk_free_bytes{folder="state"} 7e9', 'edgehone_disk_free_bytes{folder="temporary"} 3e9',
        f'edgehone_drift_log10_evidence{{model="m",name="length"}} {evidence}',
        f'edgehone_drift_alarm{{model="m",kind="inputs"}} {alarm}',
        f'edgehone_drift_alarm{{model="m",kind="any"}} {alarm}',
        f"edgehone_refused_keys_total {requests / 60}",
    ]  # fmt: skip
    return "\n".join(lines).replace("inf", "+Inf") + "\n"


class Fake:
    """A server that answers what a test says."""

    def __init__(self) -> None:
        self.metrics: str | bytes = text()
        self.state: Any = {"problems": {}}
        self.status = 200
        self.drip = False
        self.keys = list[str | None]()
        self.url = ""


@contextmanager
def faked() -> Iterator[Fake]:
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.keys.append(self.headers.get("authorization"))
            body = fake.metrics if self.path == "/metrics" else json.dumps(fake.state)
            self.send_response(fake.status)
            self.end_headers()
            content = body.encode() if isinstance(body, str) else body
            try:
                while fake.drip:
                    self.wfile.write(b"#")
                    time.sleep(0.05)
                self.wfile.write(content)
            except OSError:
                pass  # the client has left

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def fake() -> Iterator[Fake]:
    with faked() as one:
        yield one


# Figures


def test_figures_are_those_between_two_scrapes() -> None:
    before, now = reading_in(text(0), 0.0), reading_in(text(600, failed=6, evidence=2.5, alarm=1), 60.0)
    (model,) = models_between(before, now, {"m": "slow"})
    assert model.requests_per_s == 10 and model.failed_per_s == pytest.approx(0.1)
    assert model.refused_per_s == 0
    assert model.p50_s == pytest.approx(0.075) and model.tokens_per_s == 200 and model.processors == 1
    assert (model.waiting, model.running, model.restarts, model.memory_bytes) == (3, 2, 1, 2e9)
    assert (model.drift, model.drift_by, model.drift_alarms) == (2.5, "length", ("inputs",))
    assert machine_of(now) == {"temperature_celsius": 61, "disk_free_bytes": 3e9}
    (first,) = models_between(None, now, {})
    assert (
        first.requests_per_s is first.failed_per_s is first.p95_s is first.processors is None and first.ready
    )


@given(st.text(alphabet='edgehone_ready{}model="m", 01.\n#\\', max_size=200) | st.text(max_size=200))
def test_no_text_does_more_than_raise_value_error(content: str) -> None:
    with suppress(ValueError):
        models_between(None, reading_in(content, 0.0), {})


# Watching


def test_a_server_that_goes_away_is_said_since_when_and_goes_on_by_itself(fake: Fake) -> None:
    clock = [1000.0]
    watch = Watch(Watched(fake.url, Access(seconds=2), ()), lambda: clock[0], lambda: clock[0])

    def look() -> Any:
        clock[0] += 2
        return watch.look()

    assert look().models[0].requests_per_s is None
    fake.metrics = text(20)
    assert look().models[0].requests_per_s == 10
    fake.status = 500
    gone = look()
    assert gone.unreachable_since == clock[0] and "status 500" in gone.problem and gone.models[0].running == 2
    assert look().unreachable_since == gone.unreachable_since
    assert "not reachable since" in terminal.to_line(look())
    fake.status = 200
    back = look()
    assert back.unreachable_since is None and back.problem is None and back.models[0].requests_per_s is None
    fake.metrics = text(24)
    assert look().models[0].requests_per_s == 2  # not what was done while nobody looked
    fake.metrics = "some_other 1\n"
    assert "no edgehone_ready" in look().problem
    fake.metrics = "<html>"
    assert look().unreachable_since is not None


def test_the_problem_of_a_model_that_is_not_ready_is_told(fake: Fake) -> None:
    fake.metrics, fake.state = text(ready=0), {"problems": {"m": "the engine \x1b[2J failed\nagain"}}
    line = terminal.to_line(Watch(Watched(fake.url, Access(), ())).look())
    assert "m the engine  [2J failed again" in line and "\x1b" not in line
    fake.state = {"problems": ["no", "mapping"]}
    assert Watch(Watched(fake.url, Access(), ())).look().models[0].problem is None


def test_alerts_are_evaluated_and_those_that_need_a_baseline_left_out(fake: Fake) -> None:
    fake.metrics = text(ready=0)
    watch = Watch(Watched(fake.url, Access(), alerts(())))
    found = {one.name: one for one in watch.look().alerts}
    assert "latency_p95" not in {one.name for one in alerts(())}
    assert any("ready" in name for name in found), found
    assert all(one.says and one.do for one in found.values())


def test_an_answer_that_never_ends_is_given_up(fake: Fake) -> None:
    fake.drip = True
    with pytest.raises(JobError, match="had not ended after"):
        scrape(fake.url, access=Access(seconds=0.5))
    fake.drip = False


def test_an_answer_that_is_too_large_is_refused(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgehone.monitor.server._LARGEST", 1 << 20)
    fake.metrics = b"# " + b"x" * (2 << 20)
    with pytest.raises(InputError, match="more than 1 MB"):
        scrape(fake.url)


def test_views_come_at_fixed_times_and_leave_out_those_that_were_missed(fake: Fake) -> None:
    slept = list[float]()
    found = list(islice(views(Watch(Watched(fake.url, Access(), ())), 5.0, slept.append), 3))
    assert len(found) == 3 and len(slept) == 2
    assert 4 < slept[0] <= 5 and 9 < slept[1] <= 10  # as nothing was slept, the second is due later


# Shown


def test_tables_show_what_the_server_says_as_text(fake: Fake) -> None:
    from rich.console import Console

    fake.metrics = text(7).replace('"m"', '"[red]m[/red]"')
    watch = Watch(Watched(fake.url, Access(), alerts(())))
    watch.look()
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(terminal.to_tables(watch.look()))
    shown = console.export_text()
    assert "[red]m[/red]" in shown and "requests/s" in shown and "temperature 61.0 °C" in shown
    assert "drift" in shown and "2.00 GB" in shown


# The verb


def test_once_with_json_lines_and_a_key(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("secret\n")
    (tmp_path / "key").chmod(0o600)
    words = ["monitor", fake.url, "--once", "--interval", "0.2", "--api-key-file", str(tmp_path / "key")]
    assert main([*words, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (
        told["models"][0]["name"] == "m" and told["models"][0]["requests_per_s"] == 0 and told["over_s"] > 0.1
    )
    assert set(fake.keys) == {"Bearer secret"}
    assert main(words) == 0
    assert re.fullmatch(r"\d\d:\d\d:\d\d \| m ready, 0 requests/s, .*\n", capsys.readouterr().out)


def test_what_cannot_be_watched_is_refused_with_exit_2(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
        for words, said in (
            ([nobody], "does not answer"),
            ([f"{fake.url}/dashboard"], "no URL of a server"),
            (["http://[::1"], "is no URL"),
            ([str(tmp_path)], "no URL of a running server"),
            ([fake.url, "--interval", "0"], "--interval is 0"),
            ([fake.url, "--interval", "nan"], "--interval is nan"),
            ([fake.url, "--api-key-file", str(tmp_path / "none")], "cannot be read"),
            ([fake.url, "--baseline", "x=y"], "no model 'x' is served"),
        ):
            assert main(["monitor", *words]) == 2, words
            error = capsys.readouterr().err
            assert said in error and "next:" in error, error
    fake.metrics = "go_goroutines 7\n"
    assert main(["monitor", fake.url]) == 2
    assert "no `edgehone serve`" in capsys.readouterr().err


@pytest.mark.whole
def test_a_real_server_is_watched_on_a_terminal_until_ctrl_c(_finished: Finished, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(_finished.bundle, tmp_path / "bundle"))
    with running(bundle, env={"EDGEHONE_HOME": str(_finished.home)}) as server:
        ours, theirs = pty.openpty()
        words = [*EDGEHONE, "monitor", server.url, "--interval", "0.3"]
        with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            try:
                shown = _read_until(ours, "bundle", "requests/s", "ready")
                for _ in range(20):
                    assert server.complete("a")
                shown = _read_until(ours, "latency p95", "tokens/s")
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0
                rest = _read_until(ours)
            finally:
                process.kill()  # it ignores Ctrl-C where the tests were started in the background
        assert "Traceback" not in shown + rest and rest.rstrip().endswith("\x1b[?25h")  # the cursor is back
        os.close(ours)
        lines = subprocess.Popen([*EDGEHONE, "monitor", server.url, "--interval", "0.3", "--json"],
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert lines.stdout
        assert json.loads(lines.stdout.readline())["unreachable_since"] is None
        server.end()
        while json.loads(lines.stdout.readline())["unreachable_since"] is None:
            pass
        lines.send_signal(signal.SIGINT)
        assert lines.wait(60) == 0
        lines.stdout.close()


def _read_until(terminal_end: int, *words: str) -> str:
    """Return what a terminal shows until all words were there; without words, to its end."""
    found, until = "", time.monotonic() + 30
    while not words or not all(word in found for word in words):
        assert time.monotonic() < until, found
        try:
            found += os.read(terminal_end, 1 << 16).decode(errors="replace")
        except OSError:
            break  # the process has ended
    return found
