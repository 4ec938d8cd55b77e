"""A worse bundle in the place of a good one, planted in a real engine: its users tell, and it is taken back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.operate.operated import change, operating, served
from tests.operate.test_planted import baseline, quiet
from tests.serve.conftest import bundle_of
from tests.serve.server import Server, running
from tests.serve.test_change import key_file

__all__ = ["bundle_of", "key_file"]  # fixtures
pytestmark = [pytest.mark.real, pytest.mark.long]
# Windows of an hour become windows of 30 s.
TIMES = 120.0
TOKENS = 32
PROMPTS = tuple(
    f"{beginning} {topic}"
    for beginning in ("The people of", "In the year of our", "It is the duty of", "We have seen that")
    for topic in ("the United States", "the Congress", "this country")
)


class Users:
    """People who ask, compare the answer with what it was at first, and tell the server whether it is good."""

    def __init__(self, server: Server) -> None:
        self._server, self._ended = server, threading.Event()
        self.right = {one: self._ask(server.client, one)[1] for one in PROMPTS}
        self.verdicts: list[str] = []

    def _ask(self, client: httpx.Client, prompt: str) -> tuple[str, str]:
        body = {"model": "bundle", "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}
        answer = client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"], answer.json()["choices"][0]["text"]

    @contextmanager
    def asking(self) -> Iterator[Users]:
        """Ask until the block ends."""
        thread = threading.Thread(target=self._go_on)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _go_on(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self._ended.wait(0.05):
                prompt = PROMPTS[len(self.verdicts) % len(PROMPTS)]
                name, text = self._ask(client, prompt)
                verdict = "good" if text == self.right[prompt] else "bad"
                told = client.post("/v1/feedback", json={"id": name, "verdict": verdict})
                assert told.status_code == 200, told.text
                self.verdicts.append(verdict)


def test_a_bundle_of_two_bits_is_told_by_its_users_and_taken_back(
    bundle_of: Callable[..., Path], key_file: Path, tmp_path: Path
) -> None:
    good, worse = bundle_of("llamacpp"), bundle_of("llamacpp", "Q2_K")
    with running(good, "--admin-key-file", str(key_file)) as server:
        # Threads that wait for each other would be slow on a busy machine.
        change(server, settings={"threads": 1})
        first = served(server)["bundle"]["change"]
        with (
            Users(server).asking() as users,
            operating(server, key_file, tmp_path / "state", *baseline(good, tmp_path), times=TIMES) as run,
        ):
            run.wait_for("begins", 30)
            while len(users.verdicts) < 40:
                time.sleep(0.1)
            quiet(run)
            assert users.verdicts.count("bad") <= 2, users.verdicts
            change(server, path=str(worse))
            before = len(users.verdicts)
            noticed = run.wait_for("noticed", 180, lambda one: one.detail["alert"] == "bad_answers")
            named = run.wait_for("diagnosed", 120, lambda one: one.incident == noticed.incident)
            assert "served otherwise than before" in [one["name"] for one in named.detail["causes"]]
            asked = users.verdicts[before:]
            assert asked.count("bad") > 0.6 * len(asked), asked
            kept = run.wait_for("kept", 300)
            assert kept.detail["remedy"] == "the way it was served before"
            assert [one.name for one in run.remedies()] == ["the way it was served before"]
            assert served(server)["bundle"]["change"] == first
            closed = run.wait_for("closed", 120, lambda one: one.incident == noticed.incident)
            assert "remedied by: the way it was served before" in closed.says
