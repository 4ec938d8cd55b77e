"""Scoring with a fake session: exact sums, bounded memory, and refused inputs."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from numpy.typing import NDArray

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import EdgehoneError
from edgehone.worker import logprobs, score
from edgehone.worker.logprobs import exact_kl, log_softmax

Array = NDArray[Any]


class Fake:
    """Logits that depend on the id at a position and on the position."""

    def __init__(self, vocabulary: int, noise: float = 0.0, pad: int = 0, chunk: int = 5) -> None:
        self.vocabulary, self.noise, self.pad, self.chunk = vocabulary, noise, pad, chunk
        self.scored_ids: list[list[int]] = []
        self.closed = False
        self.change: Callable[[Array, int], None] = lambda _logits, _start: None

    def row(self, token: int, position: int) -> Array:
        """Return the logits after `token` at `position`."""
        base = np.random.default_rng([token, position]).normal(0, 2, self.vocabulary)
        wobble = np.random.default_rng([token, position, 1]).normal(0, 1, self.vocabulary)
        row = base + self.noise * wobble
        return np.concatenate([row, np.full(self.pad, 99.0)]).astype(np.float32)

    def score(self, ids: Sequence[int]) -> Iterator[Array]:
        self.scored_ids.append(list(ids))
        for start in range(0, len(ids), self.chunk):
            part = ids[start : start + self.chunk]
            logits = np.stack([self.row(t, start + i) for i, t in enumerate(part)])
            self.change(logits, start)
            yield logits

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def close(self) -> None:
        self.closed = True


Run = Callable[..., tuple[dict[str, Any], Path]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call a worker function with a session; return its facts and folder."""

    def call(function: Callable[[WorkerJob], dict[str, Any]], session: Fake, **args: Any) -> Any:
        module = types.ModuleType("fake_backend")
        module.open_session = lambda _artifact, _settings, _job: session  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fake_backend", module)
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        inputs = {"artifact": tmp_path, "prepared": args.pop("prepared")}
        inputs |= {name: args.pop(name) for name in ("reference", "conversations") if name in args}
        job_args = {"backend": "fake_backend", "settings": {}, "bos": [1], "windows": 3, "window": 9, **args}
        job = WorkerJob(job_args, inputs, out, None, 1, lambda _fraction, _what: None)
        return function(job), out

    return call


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """30 evaluation ids below 40, of 1 to 3 bytes each."""
    folder = tmp_path / "prepared"
    folder.mkdir()
    ids = np.random.default_rng(2).integers(2, 40, 30).tolist()
    sizes = [1 + i % 3 for i in range(30)]
    (folder / "evaluation.json").write_text(json.dumps({"ids": ids, "bytes": sizes}))
    return folder


def exact(session: Fake, ids: list[int]) -> Array:
    """Return float64 log-probabilities of each position."""
    logits = np.stack([session.row(t, i)[: session.vocabulary] for i, t in enumerate(ids)]).astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def test_reference_windows_are_bos_and_consecutive_text(run: Run, prepared: Path) -> None:
    text = json.loads((prepared / "evaluation.json").read_text())
    session = Fake(50)
    facts, out = run(score.reference, session, prepared=prepared, start=2)
    windows = [[1, *text["ids"][2 + 8 * w : 10 + 8 * w]] for w in range(3)]
    assert session.scored_ids == [*windows, windows[0]]  # the first is scored again
    assert facts["differs"] is None
    assert session.closed
    assert (facts["tokens"], facts["vocabulary"], facts["full"]) == (21, 50, True)
    tokens = np.load(out / "tokens.npz")
    assert tokens["window"].tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert tokens["bytes"].tolist() == [text["bytes"][2 + 8 * w + i] for w in range(3) for i in range(1, 8)]
    expected = [exact(session, ids)[i, ids[i + 1]] for ids in windows for i in range(1, 8)]
    np.testing.assert_allclose(tokens["nll"], -np.array(expected), atol=1e-5)
    logprobs = np.load(out / "logprobs.npy", mmap_mode="r")
    np.testing.assert_allclose(logprobs[:7], exact(session, session.scored_ids[0])[1:8], atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_long_chats_are_scored_in_the_same_session_and_stored_apart(
    run: Run, prepared: Path, tmp_path: Path, chunk: int
) -> None:
    """The figures of the conversations are those without long chats, of which the answers alone are scored."""
    spoken = [{"ids": list(range(2 + at, 12 + at)), "start": 6, "bytes": [1] * 4} for at in range(3)]
    long = [
        {"ids": list(range(20 + at, 40 + at)), "answered": [3, 4, 9, 10, 19], "bytes": [2] * 5}
        for at in range(2)
    ]
    found = {}
    for name, chats in (("without", []), ("with", long)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "conversations.json").write_text(json.dumps(spoken))
        (folder / "long.json").write_text(json.dumps({"chats": chats}))
        given = {"prepared": prepared, "conversations": folder}
        facts, reference = run(score.reference, Fake(50), **given)
        assert (facts["windows"], facts["window"], facts["tokens"]) == (3, 10, 12)
        session = Fake(50, noise=0.2, chunk=chunk)
        _, out = run(score.score, session, **given, reference=reference, windows=0)
        assert len(session.scored_ids) == 3 + len(chats) and (out / "long.npz").exists() == bool(chats)
        found[name] = dict(np.load(out / "tokens.npz"))
        _, first = run(score.score, Fake(50, noise=0.2), **given, reference=reference, windows=2)
        assert not (first / "long.npz").exists()
        np.testing.assert_array_equal(np.load(first / "tokens.npz")["kl"], found[name]["kl"][:8])
    assert found["with"].keys() == found["without"].keys()
    for column, values in found["with"].items():
        np.testing.assert_array_equal(values, found["without"][column])
    assert found["with"]["position"].tolist() == [5, 6, 7, 8] * 3
    apart = np.load(out / "long.npz")
    assert apart["window"].tolist() == [3] * 5 + [4] * 5
    assert apart["position"].tolist() == [2, 3, 8, 9, 18] * 2
    nll = [-exact(session, one["ids"])[at - 1, one["ids"][at]] for one in long for at in one["answered"]]
    np.testing.assert_allclose(apart["nll"], nll, atol=1e-5)
    pairs = [(exact(Fake(50), one["ids"]), exact(session, one["ids"])) for one in long]
    kl = np.concatenate([(np.exp(p) * (p - q)).sum(1)[[2, 3, 8, 9, 18]] for p, q in pairs])
    np.testing.assert_allclose(apart["kl"], kl, rtol=1e-4)


@pytest.mark.parametrize(("noise", "told"), [(1e-4, False), (0.3, True)])
def test_an_original_that_differs_from_itself_is_told(
    run: Run, prepared: Path, noise: float, told: bool
) -> None:
    session, rng = Fake(50), np.random.default_rng(0)

    def change(logits: Array, _start: int) -> None:
        logits += rng.normal(0, noise, logits.shape).astype(np.float32)

    session.change = change
    facts, _ = run(score.reference, session, prepared=prepared)
    assert bool(facts["differs"]) == told


def test_the_same_model_has_zero_divergence(run: Run, prepared: Path) -> None:
    _, reference = run(score.reference, Fake(50), prepared=prepared)
    facts, out = run(score.score, Fake(50, chunk=2), prepared=prepared, reference=reference)
    tokens = np.load(out / "tokens.npz")
    assert tokens["kl"].max() < 1e-12
    assert tokens["same_top"].all()
    assert not facts["kl_is_lower_bound"]
    np.testing.assert_array_equal(tokens["nll"], np.load(reference / "tokens.npz")["nll"])
    assert tokens["max_error"].max() == tokens["mean_error"].max() == 0


def test_exact_divergence_and_top_token(run: Run, prepared: Path) -> None:
    original, candidate = Fake(50), Fake(50, noise=0.3, pad=14)
    _, reference = run(score.reference, original, prepared=prepared)
    facts, out = run(score.score, candidate, prepared=prepared, reference=reference)
    got = np.load(out / "tokens.npz")
    p = np.concatenate([exact(original, ids)[1:8] for ids in original.scored_ids[:3]])
    q = np.concatenate([exact(candidate, ids)[1:8] for ids in original.scored_ids[:3]])
    np.testing.assert_allclose(got["kl"], (np.exp(p) * (p - q)).sum(axis=1), rtol=1e-4)
    np.testing.assert_array_equal(got["same_top"], p.argmax(axis=1) == q.argmax(axis=1))
    assert got["same_top"].dtype == bool
    np.testing.assert_allclose(got["max_error"], np.abs(p - q).max(axis=1), atol=1e-5)
    np.testing.assert_allclose(got["mean_error"], np.abs(p - q).mean(axis=1), atol=1e-5)
    assert (facts["compared"], facts["vocabulary"]) == (50, 50)


def test_top_k_is_a_close_lower_bound(run: Run, prepared: Path) -> None:
    vocabulary = 3000
    _, full = run(score.reference, Fake(vocabulary), prepared=prepared)
    facts, short = run(score.reference, Fake(vocabulary), prepared=prepared, max_bytes=21 * 8 * 400)
    assert (facts["full"], facts["k"]) == (False, 400)
    candidate = Fake(vocabulary, noise=0.1)
    _, one = run(score.score, candidate, prepared=prepared, reference=full)
    score_facts, two = run(score.score, candidate, prepared=prepared, reference=short)
    assert score_facts["kl_is_lower_bound"] and (score_facts["compared"], score_facts["vocabulary"]) == (
        400,
        vocabulary,
    )
    top_ids = np.load(short / "top_ids.npy")
    p, q = (
        np.concatenate([exact(s, ids)[1:8] for ids in candidate.scored_ids[:3]])
        for s in (Fake(vocabulary), candidate)
    )
    gaps = np.abs(np.take_along_axis(p, top_ids, 1) - np.take_along_axis(q, top_ids, 1))
    np.testing.assert_allclose(np.load(two / "tokens.npz")["max_error"], gaps.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(np.load(two / "tokens.npz")["mean_error"], gaps.mean(axis=1), atol=1e-5)
    exact_values, bound = np.load(one / "tokens.npz")["kl"], np.load(two / "tokens.npz")["kl"]
    assert (bound <= exact_values * (1 + 1e-5)).all()
    assert bound.mean() > 0.7 * exact_values.mean()
    tail = 1 - np.exp(np.load(short / "top_logprobs.npy").astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(np.exp(np.load(short / "tail.npy")), tail, atol=1e-5)
    assert facts["mean_tail_mass"] == pytest.approx(tail.mean(), abs=1e-5)


@pytest.mark.parametrize(
    "kind", ["drawn", "few values", "equal", "ascending", "peaks where the sample looks"]
)
def test_the_most_likely_entries_are_found_whatever_the_row(kind: str) -> None:
    rng = np.random.default_rng(0)
    rows = {
        "drawn": rng.normal(size=4000),
        "few values": rng.integers(0, 3, 4000),
        "equal": np.zeros(4000),
        "ascending": np.arange(4000),
        "peaks where the sample looks": np.where(np.arange(4000) % logprobs._SAMPLED_EVERY, 0.0, 9.0),
    }
    row = rows[kind].astype(np.float32)
    for k in (1, 256, 1000, 3999):
        ids = logprobs.most_likely(row, k)
        assert len(ids) == k and (np.diff(ids) > 0).all()
        np.testing.assert_array_equal(np.sort(row[ids]), np.sort(row)[-k:])


def test_k_never_falls_below_its_floor(run: Run, prepared: Path) -> None:
    facts, _ = run(score.reference, Fake(3000), prepared=prepared, max_bytes=1)
    assert facts["k"] == 256


def test_a_smaller_vocabulary_is_refused_with_both_sizes(run: Run, prepared: Path) -> None:
    _, reference = run(score.reference, Fake(50), prepared=prepared)
    session = Fake(48)
    with pytest.raises(EdgehoneError, match="48 entries, the original's 50"):
        run(score.score, session, prepared=prepared, reference=reference)
    assert session.closed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_logits_are_refused_with_their_position(run: Run, prepared: Path, bad: float) -> None:
    session = Fake(50)

    def spoil(logits: Array, start: int) -> None:
        if len(session.scored_ids) == 2 and start == 5:
            logits[1, 7] = bad

    session.change = spoil
    with pytest.raises(EdgehoneError, match="non-finite logits in window 1 at position 6"):
        run(score.reference, session, prepared=prepared)


def test_a_reference_of_another_text_is_refused(run: Run, prepared: Path) -> None:
    _, reference = run(score.reference, Fake(50), prepared=prepared)
    data = json.loads((prepared / "evaluation.json").read_text())
    data["ids"][3] += 1
    (prepared / "evaluation.json").write_text(json.dumps(data))
    with pytest.raises(EdgehoneError, match="other token ids"):
        run(score.score, Fake(50), prepared=prepared, reference=reference)


def test_a_short_text_and_empty_windows_are_refused(run: Run, prepared: Path) -> None:
    with pytest.raises(EdgehoneError, match="has 30 token ids, 4 windows need 32"):
        run(score.reference, Fake(50), prepared=prepared, windows=4)
    with pytest.raises(EdgehoneError, match="nothing to score"):
        run(score.reference, Fake(50), prepared=prepared, window=2)


def test_missing_rows_and_ids_outside_the_vocabulary_are_refused(run: Run, prepared: Path) -> None:
    short = Fake(50)
    short.score = lambda ids: iter([np.zeros((len(ids) - 3, 50), np.float32)])  # type: ignore[method-assign]
    with pytest.raises(EdgehoneError, match="only 6 positions have logits for 9 ids"):
        run(score.reference, short, prepared=prepared)
    with pytest.raises(EdgehoneError, match="outside the vocabulary of 20"):
        run(score.reference, Fake(20), prepared=prepared)


def test_choices_of_a_task_are_scored(run: Run, prepared: Path) -> None:
    items = [
        {"context": [5, 6], "choices": [[7], [8, 9, 10], [11, 12]], "answer": 1},
        {"context": [5], "choices": [[9, 3], [8]], "answer": 0},
    ]
    (prepared / "task.json").write_text(json.dumps(items))
    session = Fake(50, pad=3)
    session.pad = 0
    facts, out = run(score.reference, session, prepared=prepared)
    got = np.load(out / "task.npz")
    assert facts["task_items"] == 2
    for i, item in enumerate(items):
        sums = []
        for choice in item["choices"]:  # type: ignore[attr-defined]
            ids = [1, *item["context"], *choice]  # type: ignore[misc]
            first = len(ids) - len(choice)
            rows = exact(session, ids)
            sums.append(sum(rows[first + j - 1, c] for j, c in enumerate(choice)))
        np.testing.assert_allclose(got["sums"][i, : len(sums)], sums, atol=1e-4)
        assert got["picked"][i] == int(np.argmax(sums))
        lengths = [len(c) for c in item["choices"]]  # type: ignore[attr-defined]
        assert got["picked_normalised"][i] == int(np.argmax(np.array(sums) / lengths))
    assert got["answer"].tolist() == [1, 0]


def test_an_empty_choice_is_refused(run: Run, prepared: Path) -> None:
    (prepared / "task.json").write_text(json.dumps([{"context": [5], "choices": [[], [8]], "answer": 0}]))
    with pytest.raises(EdgehoneError, match="task 0: the prompt or a choice has no token"):
        run(score.reference, Fake(50), prepared=prepared)


def test_the_parity_texts_are_tokenized_on_request(run: Run, prepared: Path) -> None:
    texts = [{"kind": "plain", "text": "a\n é", "ids": [1]}, {"kind": "special", "text": "<s>", "ids": [2]}]
    (prepared / "parity.json").write_text(json.dumps(texts))
    _, reference = run(score.reference, Fake(50), prepared=prepared)
    _, out = run(score.score, Fake(50), prepared=prepared, reference=reference, tokenize=True, windows=0)
    assert json.loads((out / "token_ids.json").read_text()) == [list("a\n é".encode()), list(b"<s>")]
    _, out = run(score.score, Fake(50), prepared=prepared, reference=reference, tokenize=True, windows=2)
    assert not (out / "token_ids.json").exists()


@given(some.lists(some.tuples(some.floats(-300, 30), some.floats(-300, 30)), min_size=1, max_size=50))
def test_the_divergence_of_any_two_distributions_is_exact(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array([side], dtype=np.float32) for side in zip(*pairs, strict=True))
    p, q = log_softmax(a), log_softmax(b)
    got = exact_kl(p, q)[0]
    wide_p, wide_q = p[0].astype(np.float64), q[0].astype(np.float64)
    assert got == pytest.approx(float((np.exp(wide_p) * (wide_p - wide_q)).sum()), rel=1e-4, abs=1e-4)
    assert exact_kl(p, p)[0] == 0.0


def test_masked_entries_give_finite_results() -> None:
    low = np.float32(-3.4e38)
    logits = np.array([[3.4e37, 1.0, low]], dtype=np.float32)
    p = log_softmax(logits)
    assert np.isfinite(p).all()
    assert exact_kl(p, p)[0] == 0.0


BIG = """
import json, resource, sys, types
from pathlib import Path
import numpy as np
from edgehone.backends.base import WorkerJob
from edgehone.worker import score

V = 150_000
class Session:
    def __init__(self, noise): self.noise = noise
    def score(self, ids):
        for start in range(0, len(ids), 16):
            rows = len(ids[start:start + 16])
            g = np.random.default_rng(ids[start])
            logits = g.standard_normal((rows, V), dtype=np.float32)
            yield logits * 3 + self.noise * g.standard_normal((rows, V), dtype=np.float32)
    def close(self): pass

module = types.ModuleType("big")
module.open_session = lambda artifact, settings, job: Session(settings["noise"])
sys.modules["big"] = module
here = Path(sys.argv[1])
(here / "evaluation.json").write_text(json.dumps({"ids": list(range(256)), "bytes": [1] * 256}))
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
inputs = {"artifact": here, "prepared": here, "reference": here / "reference"}
for name, noise in (("reference", 0.0), ("score", 0.2)):
    out = here / name
    out.mkdir()
    args = {"backend": "big", "settings": {"noise": noise}, "windows": 2, "window": 128}
    args["max_bytes"] = 10 << 20
    getattr(score, name)(WorkerJob(args, inputs, out, None, 1, lambda *_: None))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - base) * 1024)
print(sum(f.stat().st_size for f in (here / "reference").iterdir()))
"""


@pytest.mark.whole
def test_a_vocabulary_of_150_000_takes_bounded_memory_and_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BIG, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, stored = (int(line) for line in done.stdout.split())
    assert grown < 200 << 20  # all logits would be 254 x 150,000 x 4 bytes, twice: 290 MiB
    assert stored < 11 << 20
    kl = np.load(tmp_path / "score" / "tokens.npz")["kl"]
    assert np.isfinite(kl).all()
    assert (kl > 0).all()
