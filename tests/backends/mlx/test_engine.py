"""The engine of MLX over every kind of cache: an answer does not depend on what else is in its batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.mlxfunctions import CACHES, REQUESTS

pytestmark = pytest.mark.real


def test_answers_do_not_depend_on_the_batch(
    run_worker: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    told = run_worker("mlx", "mlxfunctions:engines", {}, {}, tmp_path / "run")
    assert told.keys() == CACHES.keys()
    for name, answers in told.items():
        alone = answers["alone"]
        plain = [one["ids"] for one, (_, _, options) in zip(alone, REQUESTS, strict=True) if not options]
        assert plain == answers["plain"], name
        ids = [one["ids"] for one in alone]
        assert [len(one) for one in ids] == [count for _, count, _ in REQUESTS]
        for among in answers["among"]:
            assert [one["ids"] for one in among] == ids, name
            assert {one["reason"] for one in among} == {"length"}
        cancelled = [one["ids"] for one in answers["cancelled"]]
        assert cancelled[:4] == ids[:4] and cancelled[5:] == ids[5:]
        assert len(cancelled[4]) < len(ids[4]) and cancelled[4] == ids[4][: len(cancelled[4])]
        logprobs = alone[2]["logprobs"]
        assert [token for token, _, _ in logprobs] == ids[2] and not alone[0]["logprobs"]
        for token, logprob, top in logprobs:
            assert len(top) == 2 and top[0][1] >= top[1][1] and logprob <= top[0][1] < 0
            assert dict(map(tuple, top)).get(token, logprob) == logprob
