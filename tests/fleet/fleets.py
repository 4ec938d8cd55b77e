"""A fleet for tests: a registry, a publisher with its keys, and agents as a user starts them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from edgehone.attestation.keys import read_signing_key
from edgehone.fleet.channel import channel_address
from edgehone.fleet.judge import Became
from edgehone.fleet.publish import Publisher, View, advance, publish, view
from edgehone.fleet.rules import channel_rules, judge_rules
from edgehone.fleet.settings import AgentSettings, read_settings
from edgehone.fleet.state import State, read_state
from edgehone.fleet.waves import parse_waves
from edgehone.registry.session import open_registry
from tests.attestation.signed import certified, make_key, public
from tests.ports import free_port
from tests.registry.bundles import Make

PATIENCE = 180.0
# Times for tests, which do not wait for minutes.
AGENT: dict[str, Any] = {
    "poll_seconds": 0.4, "longest_poll_seconds": 1.0, "probation_seconds": 1.5, "start_seconds": 60,
    "drain_seconds": 3, "reserve_bytes": 100_000, "most_tries": 1, "unready_seconds": 3,
}  # fmt: skip


@dataclass
class Fleet:
    """A channel in a registry, and the keys of its publisher, in `place`.

    The repository is named after the test's own folder, which holds `place`: what a publisher remembers of a channel
    stays in EDGEHONE_HOME, and a later test's registry may listen on a port that was used before.
    """

    host: str
    place: Path
    make: Make
    agent: dict[str, Any] = field(default_factory=lambda: dict(AGENT))

    def __post_init__(self) -> None:
        """Make the keys."""
        self.place.mkdir(exist_ok=True)
        self.release_key = make_key(self.place, "release")
        self.channel_key = make_key(self.place, "channel")

    @property
    def repository(self) -> str:
        """The channel's repository."""
        return "fleet/" + re.sub(r"[^a-z0-9]+", "-", self.place.parent.name.lower()).strip("-")

    @property
    def channel(self) -> str:
        """The channel's address."""
        return f"oci://{self.host}/{self.repository}:stable"

    @property
    def publisher(self) -> Publisher:
        """Who signs the channel."""
        return Publisher(channel_address(self.channel), read_signing_key(self.channel_key), channel_rules())

    def bundle(self, weights: bytes, **changes: Any) -> Path:
        """Return a certified bundle."""
        return certified(self.make(weights, **changes), self.release_key)

    def bad_bundle(self, weights: bytes) -> Path:
        """Return a certified bundle whose engine gives other answers than its canaries."""
        manifest = json.loads((self.make(b"") / "manifest.json").read_text("utf-8"))
        canaries = [
            {**one, "answer": [(token + 1) % 7 for token in one["answer"]]} for one in manifest["canaries"]
        ]
        return self.bundle(weights, canaries=canaries)

    def publish(self, bundle: Path, *waves: str) -> None:
        """Publish a bundle."""
        registry = open_registry(str(self.place / "registry"))
        publish(self.publisher, registry, bundle, parse_waves(waves), by="ann")

    def view(self) -> View:
        """Return what `edgehone agent status` shows."""
        return view(channel_address(self.channel), public(self.channel_key), None, judge_rules())

    def advance(self) -> tuple[View, str]:
        """Do what `edgehone agent advance` does."""
        return advance(self.publisher, None, judge_rules())

    def became(self, wave: int = 0) -> dict[str, Became]:
        """Return what became of the release on the devices of a wave."""
        return dict(self.view().counts[wave].devices)

    def device(self, name: str, **changes: Any) -> Path:
        """Write the settings of a device, with a key of its own, and return the file."""
        folder = self.place / name
        folder.mkdir(exist_ok=True)
        make_key(folder, "device")
        values: dict[str, Any] = {
            "channel": self.channel,
            "device": name,
            "folder": "data",
            "channel_key": str(self.channel_key.with_suffix(".pub")),
            "bundle_key": str(self.release_key.with_suffix(".pub")),
            "device_key": "device.key",
            "port": free_port(),
            **{key: value for key, value in changes.items() if key not in AGENT},
        }
        rules = {**self.agent, **{key: value for key, value in changes.items() if key in AGENT}}
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        lines += ["[agent]", *(f"{key} = {_toml(value)}" for key, value in rules.items())]
        path = folder / "agent.toml"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path


class Agent:
    """A running `edgehone agent run`."""

    def __init__(self, file: Path, process: subprocess.Popen[bytes]) -> None:
        self.file, self.process = file, process

    @property
    def settings(self) -> AgentSettings:
        """Its settings."""
        return read_settings(self.file)

    @property
    def state(self) -> State:
        """What it remembers."""
        return read_state(self.settings.folder, self.settings.channel)

    @property
    def log(self) -> str:
        """What it has said."""
        return log_of(self.file).read_text("utf-8")

    @property
    def running(self) -> int | None:
        """The number of the release that is active."""
        release = self.state.running
        return release.number if release else None

    def wait(self, condition: Callable[[Agent], bool], seconds: float = PATIENCE) -> float:
        """Wait until a condition holds; return the seconds that it took."""
        begun = time.monotonic()
        while not condition(self):
            assert time.monotonic() - begun < seconds, self.log[-3000:]
            assert self.process.poll() is None, self.log[-3000:]
            time.sleep(0.05)
        return time.monotonic() - begun

    def until(self, number: int) -> float:
        """Wait until a release is active."""
        return self.wait(lambda agent: agent.running == number)

    def answers(self) -> bool:
        """Whether its server answers a request for the model."""
        return answer(self.settings) is not None

    def kill(self) -> None:
        """Kill the agent, not its server (kill -9)."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def cut(self) -> None:
        """Kill the agent and its servers at once, as a power cut would."""
        left = servers(self.file)
        self.process.kill()
        for process in [*left, *servers(self.file)]:
            _kill_tree(process)
        self.process.wait(PATIENCE)


def answer(settings: AgentSettings, told: list[str] | None = None) -> str | None:
    """Return what the server of a device answers to a prompt; None if it does not. `told` takes the errors."""
    name = settings.address.repository.rpartition("/")[2]
    body = {"model": name, "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}
    connection = http.client.HTTPConnection("127.0.0.1", settings.settings.port, timeout=20)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        got = connection.getresponse()
        text = got.read()
        return str(json.loads(text)["choices"][0]["text"]) if got.status == 200 else None
    except (OSError, http.client.HTTPException) as error:
        if told is not None:
            told.append(repr(error))
        return None
    finally:
        connection.close()


def log_of(file: Path) -> Path:
    """Return where what an agent says is written."""
    return file.with_name("log")


def servers(file: Path) -> list[psutil.Process]:
    """Return the servers of a device's slots."""
    slots = str(file.parent / "data" / "slots")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "serve" in words and any(word.startswith(slots) for word in words):
            found.append(process)
    return found


def _kill_tree(process: psutil.Process) -> None:
    try:
        for one in [process, *process.children(recursive=True)]:
            one.kill()
        process.wait(PATIENCE)
    except psutil.NoSuchProcess:
        pass


@contextmanager
def running(file: Path, env: dict[str, str] | None = None) -> Iterator[Agent]:
    """Run the agent of a device. At the end it is told to end, and neither it nor a server of it is left."""
    with log_of(file).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgehone.cli.main", "agent", "run", str(file)],
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
        )
    try:
        yield Agent(file, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        for left in servers(file):
            _kill_tree(left)


@contextmanager
def all_running(files: list[Path]) -> Iterator[list[Agent]]:
    """Run several agents."""
    with ExitStack() as stack:
        agents = [stack.enter_context(running(file)) for file in files]
        yield agents
        for agent in agents:  # all at once: each may take seconds to end its server
            agent.process.send_signal(signal.SIGTERM)


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds
        time.sleep(0.2)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(one)}' for key, one in value.items()) + "}"
    return json.dumps(value)
