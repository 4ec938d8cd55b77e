"""The KV cache of an engine is never overfilled: a request waits for room in it, or is refused."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

import edgehone
from edgehone.bundle.schema import text_of
from tests.finished import Finished, list_again
from tests.serve.server import Server, running, wait_for

pytestmark = pytest.mark.whole
CACHE = 600


@pytest.fixture
def bundle(spoiled: Path, finished: Finished) -> Path:
    """A bundle whose engine fails a request for which its cache of 600 tokens has no room."""
    manifest = edgehone.read(spoiled).manifest
    recipe = {**manifest.recipe, "settings": {**manifest.recipe["settings"], "cache": CACHE}}
    (spoiled / "manifest.json").write_text(text_of(replace(manifest, recipe=recipe).to_json()))
    list_again(spoiled)
    return spoiled


def asked(server: Server, count: int, seed: int = 0) -> httpx.Response:
    """Return the answer of so many tokens."""
    prompt = f"{seed} " * 5
    body = {"model": "bundle", "prompt": prompt, "max_tokens": count}
    return server.post("/v1/completions", body)


def test_requests_wait_for_room_in_the_cache_or_are_refused(bundle: Path) -> None:
    chance = random.Random(1)
    with running(bundle, "--max-queue", "8") as server, ThreadPoolExecutor(24) as pool:
        assert server.metric("edgehone_cache_tokens") == CACHE
        counts = [chance.randint(20, 250) for _ in range(72)]
        answers = [pool.submit(asked, server, count, seed) for seed, count in enumerate(counts)]
        reserved = [server.metric("edgehone_cache_reserved_tokens")]
        while not all(answer.done() for answer in answers):
            reserved.append(server.metric("edgehone_cache_reserved_tokens"))
        assert CACHE / 2 < max(reserved) <= CACHE
        found = [answer.result() for answer in answers]
        assert {one.status_code for one in found} == {200, 429}
        for one, count in zip(found, counts, strict=True):
            if one.status_code == 200:
                assert one.json()["usage"]["completion_tokens"] == count
            else:
                assert "are waiting" in one.text and int(one.headers["retry-after"]) >= 1
        assert server.metric("edgehone_cache_reserved_tokens") == 0
        _refusals_come_at_once(server, pool)


def _refusals_come_at_once(server: Server, pool: ThreadPoolExecutor) -> None:
    long = [pool.submit(asked, server, 500, seed) for seed in range(2)]
    wait_for(lambda: server.metric("edgehone_waiting_requests") == 1)
    refused = [asked(server, 500) for _ in range(20)]
    assert {answer.status_code for answer in refused} == {429}  # while the others still wait
    assert "requests for 511 tokens are waiting" in refused[0].text
    assert asked(server, 20).status_code == 200  # smaller ones still find room
    assert [one.result().status_code for one in long] == [200, 200]


def test_what_can_never_fit_is_a_bad_request(bundle: Path) -> None:
    with running(bundle, "--max-queue", "8") as server:
        cut = server.complete("a" * 10)["usage"]
        assert cut["completion_tokens"] == 16
        body = {"model": "bundle", "prompt": "a" * 700, "max_tokens": 5}
        answer = server.post("/v1/completions", body)
        assert answer.status_code == 400 and "the prompt has 701 tokens; at most 600 fit" in answer.text
        answer = server.post("/v1/completions", {"model": "bundle", "prompt": "a", "max_tokens": 500, "n": 4})
        assert answer.status_code == 400 and "2008 tokens in all; at most 1200 fit" in answer.text
        assert answer.json()["error"]["param"] == "max_tokens"
