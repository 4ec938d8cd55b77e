"""Metrics of language models by OTLP, read by a receiver of OpenTelemetry's own messages."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError, SetupError
from edgehone.serve.measured import otlp
from edgehone.serve.observation import Observation
from tests.serve.server import running, wait_for

service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")


class Receiver(ThreadingHTTPServer):
    """A receiver of OTLP over HTTP that keeps the last data points, by metric and attributes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.points: dict[tuple[str, frozenset[Any]], Any] = {}
        self.units: dict[str, str] = {}
        self.resource: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        return [(dict(attributes), point) for (one, attributes), point in self.points.items() if one == name]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path != "/v1/metrics" or self.headers["content-type"] != "application/x-protobuf":
            self.send_error(400)
            return
        asked = service.ExportMetricsServiceRequest.FromString(body)
        for resource in asked.resource_metrics:
            self.server.resource = _attributes(resource.resource.attributes)
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    self.server.units[metric.name] = metric.unit
                    for point in metric.histogram.data_points:
                        key = metric.name, frozenset(_attributes(point.attributes).items())
                        self.server.points[key] = point
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(service.ExportMetricsServiceResponse().SerializeToString())

    def log_message(self, *words: Any) -> None:
        """Print nothing."""


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in found}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def seen(**more: Any) -> Observation:
    known: dict[str, Any] = {"at": time.time(), "model": "m", "status": 200, "path": "/v1/completions"}
    return Observation(**{**known, **more})


def test_a_served_model_sends_the_metrics_of_the_conventions(
    receiver: Receiver, chatty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "300")
    with running(chatty, "--otlp", receiver.url) as server:
        server.complete("To the ", max_tokens=5)
        chat = {"model": "bundle", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
        assert server.post("/v1/chat/completions", chat).status_code == 200
        assert (
            server.post("/v1/completions", {"model": "bundle", "prompt": [], "max_tokens": 1}).status_code
            == 400
        )
        wait_for(lambda: len(receiver.named("gen_ai.server.request.duration")) == 3)
        port = int(server.url.rpartition(":")[2])
    common = {
        "gen_ai.provider.name": "edgehone", "gen_ai.request.model": "bundle", "gen_ai.response.model": "bundle",
        "server.address": "127.0.0.1", "server.port": port,
    }  # fmt: skip
    text, talk = ({**common, "gen_ai.operation.name": one} for one in ("text_completion", "chat"))
    durations = receiver.named("gen_ai.server.request.duration")
    for expected in (text, talk, {**text, "error.type": "400"}):
        (point,) = [point for attributes, point in durations if attributes == expected]
        assert point.count == 1 and 0 < point.sum < 30 and list(point.explicit_bounds)[:2] == [0.01, 0.02]
    usage = {
        (one["gen_ai.operation.name"], one["gen_ai.token.type"]): point.sum
        for one, point in receiver.named("gen_ai.client.token.usage")
    }
    assert usage["text_completion", "output"] == 5 and usage["chat", "output"] == 3
    assert usage["text_completion", "input"] > 0
    assert {tuple(sorted(one)) for one, _ in receiver.named("gen_ai.server.time_to_first_token")} == {
        tuple(sorted(text))
    }
    assert len(receiver.named("gen_ai.server.time_per_output_token")) == 2
    assert receiver.units == {
        "gen_ai.server.request.duration": "s", "gen_ai.server.time_to_first_token": "s",
        "gen_ai.server.time_per_output_token": "s", "gen_ai.client.token.usage": "{token}",
    }  # fmt: skip
    assert receiver.resource["service.name"] == "edgehone"


def test_what_was_not_sent_yet_is_sent_at_the_end(receiver: Receiver) -> None:
    sending = otlp.Otlp(f"{receiver.url}/v1/metrics", "127.0.0.1", 1, seconds=3600)
    sending.observe(seen(seconds=0.5, prompt_tokens=3, generated_tokens=2))
    sending.observe(seen(path="/v2/models/{name}/infer"))  # which the conventions do not know
    sending.end()
    assert len(receiver.named("gen_ai.server.request.duration")) == 1


def test_a_collector_that_is_gone_holds_up_neither_requests_nor_the_end() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1/metrics"
        sending = otlp.Otlp(url, "127.0.0.1", 1, seconds=3600)
        sending.observe(seen(seconds=0.5))
        begun = time.monotonic()
        sending.end()
        assert time.monotonic() - begun < 30


def test_where_metrics_go_is_stated_or_in_the_environment() -> None:
    base, own = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
    assert otlp.collector(None, {}) is None
    assert otlp.collector(None, {base: "http://c:4318/"}) == "http://c:4318/v1/metrics"
    assert otlp.collector(None, {base: "http://c:4318", own: "http://d/x"}) == "http://d/x"
    assert otlp.collector("https://e:4318", {own: "http://d/x"}) == "https://e:4318/v1/metrics"
    with pytest.raises(InputError, match="collector:4318"):
        otlp.collector("collector:4318", {})


def test_without_the_extra_the_option_is_an_error_and_the_environment_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        __import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None
    )
    said: list[str] = []
    with pytest.raises(SetupError, match="not installed"):
        otlp.sender("http://c:4318", "a", 1, said.append)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")
    assert otlp.sender(None, "a", 1, said.append) is None
    assert len(said) == 1 and "edgehone[otel]" in said[0]
