"""Drift in a running server: alarms, its state after kills, and nothing of a prompt on the disk."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgehone.bundle.schema import DRIFT_REFERENCE
from edgehone.drift import ReferenceBuilder, Sample
from edgehone.serve.drift import kept, sealed
from edgehone.serve.drift.evaluated import Evaluated
from edgehone.serve.drift.features import describe, names
from tests.finished import Finished, list_again
from tests.serve.graphs import asked, null_graph
from tests.serve.server import Server, running, wait_for

pytestmark = pytest.mark.whole
ADMIN = {"authorization": "Bearer operator-0123456789"}
SECRET = "zanzibar-quokka-7391"


@pytest.fixture
def operators(tmp_path: Path) -> Path:
    path = tmp_path / "operators"
    path.write_text("operator-0123456789\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def samples_key(tmp_path: Path) -> Path:
    path = tmp_path / "samples.key"
    path.write_text("ab" * 32)
    path.chmod(0o600)
    return path


def config(tmp_path: Path, bundle: Path, **more: object) -> Path:
    """Write a file of settings with a small reference."""
    settings = {"drift_requests": 512, "state": str(tmp_path / "state"), **more}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    path = tmp_path / "serve.toml"
    path.write_text("\n".join([*lines, "[bundles.bundle]", f"path = {json.dumps(str(bundle))}\n"]))
    return path


def drift(server: Server) -> dict[str, object]:
    answer = server.client.get("/admin/watch", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()["models"]["bundle"]["drift"]
    return found


def ask(server: Server, prompts: Sequence[str]) -> None:
    for one in prompts:
        server.complete(one, max_tokens=2)


def words(count: int, seed: int, least: int = 4, most: int = 12) -> list[str]:
    """Return prompts, each with the secret."""
    random = np.random.default_rng(seed)
    known = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "dog", "run", "by", "it"]
    return [
        f"{SECRET} {' '.join(random.choice(known, int(random.integers(least, most))))}" for _ in range(count)
    ]


def alarm(server: Server, kind: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    (line,) = [
        one for one in lines if one.startswith(f'edgehone_drift_alarm{{kind="{kind}",model="bundle"}}')
    ]
    return float(line.rpartition(" ")[2])


def planted(text: str, ids: Sequence[int]) -> list[bytes]:
    """Return the forms in which a prompt could lie on a disk."""
    numbers = list(ids[:6])
    return [
        text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be"), text.encode("utf-32-le"),
        json.dumps(numbers)[1:-1].encode(), json.dumps(numbers, separators=(",", ":"))[1:-1].encode(),
        " ".join(map(str, numbers)).encode(), np.array(numbers, np.int32).tobytes(),
        np.array(numbers, np.int64).tobytes(), np.array(numbers, np.uint16).tobytes(),
        np.array(numbers, np.float64).tobytes(), json.dumps([float(one) for one in numbers])[1:-1].encode(),
    ]  # fmt: skip


def found_in(folder: Path, forms: Sequence[bytes]) -> list[str]:
    contents = [(path, path.read_bytes()) for path in folder.rglob("*") if path.is_file()]
    assert contents
    return [f"{path.name}: {form!r}" for path, content in contents for form in forms if form in content]


def test_an_alarm_survives_a_kill_and_nothing_of_a_prompt_is_on_the_disk(
    spoiled: Path, finished: Finished, tmp_path: Path, operators: Path
) -> None:
    file = config(tmp_path, spoiled, admin_key_file=str(operators))
    state = tmp_path / "state"
    forms: list[bytes] = []
    with running(file, as_config=True) as server:
        ask(server, words(600, 1))
        first = drift(server)
        assert first["alarm"] is False and first["requests"] == 600
        references = first["references"]
        assert isinstance(references, dict) and references["first traffic"]["samples"] == 512
        ask(server, words(120, 2, least=40, most=60))
        assert alarm(server, "inputs") == alarm(server, "any") == 1
        said = drift(server)
        assert said["alarm"] is True and "prompts are longer" in str(said["summary"])
        wait_for(
            lambda: 720 in [json.loads(one.read_text())["requests"] for one in state.rglob("*.state.json")]
        )
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
    with running(file, as_config=True) as server:
        assert alarm(server, "inputs") == 1 and drift(server)["requests"] == 720
        answer = server.post("/admin/drift/bundle", {"why": "longer prompts are right"})
        assert answer.status_code == 401
        answer = server.post("/admin/drift/bundle", {"why": "longer prompts are right"}, headers=ADMIN)
        assert answer.status_code == 200 and answer.json()["requests"] == 0
        assert server.post("/admin/drift/other", {"why": "x"}, headers=ADMIN).status_code == 404
        assert server.post("/admin/drift/bundle", {"why": ""}, headers=ADMIN).status_code == 400
        ask(server, words(30, 3))
        assert alarm(server, "any") == 0
        ids = server.post("/v1/completions", {"model": "bundle", "prompt": SECRET, "max_tokens": 1}).json()
        assert ids["usage"]["prompt_tokens"] > 6
        prompt = [ord(one) for one in SECRET]
        forms = planted(SECRET, prompt)
        assert server.end() == 0
    assert found_in(state, forms) == []
    with running(file, as_config=True) as server:
        assert drift(server)["approved"] == "longer prompts are right"
        assert drift(server)["requests"] == 31


def test_kept_samples_are_encrypted_and_removed_by_a_server_without_them(
    spoiled: Path, finished: Finished, tmp_path: Path, samples_key: Path
) -> None:
    state = tmp_path / "state"
    options = ("--state", str(state), "--keep-samples", "16", "--samples-key-file", str(samples_key))
    with running(spoiled, *options) as server:
        ask(server, words(40, 4))
        assert server.end() == 0
    assert found_in(state, planted(SECRET, [ord(one) for one in SECRET])) == []
    files = sorted((state / kept.FOLDER).rglob("*.sealed"))
    key = sealed.read_key(samples_key)
    opened = [one for path in files for one in sealed.open_file(path, key).records]
    assert 14 <= len(opened) <= 16
    with running(spoiled, "--state", str(state), ready=False):
        pass
    assert not (state / kept.FOLDER).exists()


def test_traffic_unlike_the_evaluation_samples_of_a_graph_raises_an_alarm_from_the_first_requests_on(
    spoiled: Path, finished: Finished, tmp_path: Path, operators: Path
) -> None:
    bundle = null_graph(spoiled)
    random, builder = np.random.default_rng(3), ReferenceBuilder()
    for row in random.normal(size=(1000, 1, 4)).astype(np.float32):
        builder.add(Sample(features=describe({"x": row}, {})[0].features))
    list_again(bundle)
    document = Evaluated(builder.build(), True, "", names(["x"]))
    (bundle / DRIFT_REFERENCE).write_text(json.dumps(document.to_json()))
    file = config(tmp_path, bundle, admin_key_file=str(operators), drift_requests=4000)
    with running(file, as_config=True) as server:
        for row in random.normal(size=(520, 4)).astype(np.float32):
            assert server.infer(asked([row.tolist()])).status_code == 200
        assert alarm(server, "any") == 0
        for row in (2 + random.normal(size=(200, 4))).astype(np.float32):
            assert server.infer(asked([row.tolist()])).status_code == 200
        assert alarm(server, "inputs") == 1
        said = drift(server)
        assert said["references"]["evaluation"]["alarms"] is True  # type: ignore[index]
        assert "differ from the evaluation" in said["references"]["first traffic"]["reason"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("words_given", "said"),
    [
        (["--keep-samples", "10"], "belong together"),
        (["--keep-samples", "10", "--samples-key-file", "KEY"], "--state"),
        (["--keep-samples", "1", "--samples-key-file", "KEY", "--state", "s"], "from 8"),
    ],
)
def test_wrong_settings_of_kept_samples_are_refused(words_given: list[str], said: str) -> None:
    from edgehone.core.errors import InputError
    from edgehone.serve.settings import read_settings

    given = dict(zip([one[2:].replace("-", "_") for one in words_given[::2]], words_given[1::2], strict=True))
    values = {name: int(value) if value.isdigit() else value for name, value in given.items()}
    with pytest.raises(InputError) as error:
        read_settings(None, values, ["bundle"])
    assert said in f"{error.value} {error.value.hint}"
