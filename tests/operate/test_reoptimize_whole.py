"""The loop end to end: drift planted in a server → alarm → optimized on what it kept → certified → challenger."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgehone.attestation.verify import verify_bundle
from edgehone.bundle.read import read
from edgehone.cli import main
from edgehone.inputs.texts import shipped
from edgehone.operate.reoptimize.reoptimize import discard
from edgehone.registry.names import Reference
from edgehone.registry.session import find, open_registry
from tests.certify.subjects import with_table
from tests.finished import Finished
from tests.operate.operated import operating
from tests.serve.server import Server, running

pytestmark = [pytest.mark.whole, pytest.mark.long]
# As little as certifies a bundle of the null backend; other tests run at the same time, so no speed is required.
PROFILE = """
[measure]
windows = 8
perturbed = 8
long_windows = 4
latency_seconds = 5
rounds = 2
stress_seconds = 0.4
"""
NOT_REQUIRED = (
    "licence", "model_card", "notices", "latency_p50", "latency_p95", "latency_p99", "throughput", "memory", "start",
    "overload", "overload_latency", "memory_returns", "latency_trend", "memory_trend", "recovery", "vulnerabilities",
    "network", "typos", "unicode", "repeated_tokens", "long_context", "permissions",
)  # fmt: skip
SECRET = "ZANZIBAR QUOKKA"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the key of the samples and a profile."""
    (tmp_path / "samples.key").write_text("cd" * 32)
    (tmp_path / "samples.key").chmod(0o600)
    rules = "".join(f"[checks.{name}]\nrequired = false\n" for name in NOT_REQUIRED)
    (tmp_path / "profile.toml").write_text(PROFILE + rules)
    return tmp_path


def shouted(count: int) -> list[str]:
    """Return prompts of another kind than the model was made for: in capitals."""
    text = " ".join(shipped("calibration").read_text("utf-8").split()).upper()
    return [f"{text[at * 300 : at * 300 + 280]} {SECRET}" for at in range(count)]


def calm(count: int) -> list[str]:
    text = " ".join(shipped("evaluation").read_text("utf-8").split())
    return [text[at * 200 : at * 200 + 120 + at % 80] for at in range(count)]


def ask(server: Server, prompts: Sequence[str]) -> None:
    for one in prompts:
        server.complete(one, max_tokens=1)


@pytest.fixture
def champion(spoiled: Path, finished: Finished) -> Path:
    """A bundle that answers as the original but for capitals, of which it knows nothing."""

    def change(table: Any) -> None:
        table[65:91] = table[65:91].mean()

    return with_table(spoiled, change)


def words(place: Path, champion: Path, *more: str) -> list[str]:
    return [
        "reoptimize", str(champion), "--state", str(place / "state"), "--samples-key-file", str(place / "samples.key"),
        "--registry", str(place / "registry"), "--name", "shop", "--out", str(place / "next"),
        "--profile", str(place / "profile.toml"), "--soak", "1s", "--json", *more,
    ]  # fmt: skip


def configure(place: Path, champion: Path) -> None:
    """Write the settings of a server that keeps samples."""
    operators = place / "operators"
    operators.write_text("operator-0123456789\n")
    operators.chmod(0o600)
    (place / "serve.toml").write_text(
        f"drift_requests = 600\nkeep_samples = 400\nstate = {json.dumps(str(place / 'state'))}\n"
        f"samples_key_file = {json.dumps(str(place / 'samples.key'))}\n"
        f"admin_key_file = {json.dumps(str(operators))}\n"
        f"[bundles.bundle]\npath = {json.dumps(str(champion))}\n"
    )


def serve(place: Path, champion: Path) -> None:
    """Serve calm and then shouted prompts, until the alarm."""
    configure(place, champion)
    with running(place / "serve.toml", as_config=True) as server:
        ask(server, calm(680))
        assert server.metric("edgehone_drift_alarm") == 0
        ask(server, shouted(260))
        assert server.metric("edgehone_drift_alarm") > 0
        assert server.end() == 0


def plain(folder: Path) -> list[Path]:
    """Return the files below a folder that hold the secret."""
    forms = [
        SECRET.encode(),
        SECRET.encode("utf-16-le"),
        json.dumps([ord(one) for one in SECRET[:8]])[1:-1].encode(),
    ]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(form in path.read_bytes() for form in forms)]


def wait_for_end_of_all_below(folder: Path) -> None:
    """Wait until no process names a file of the folder. Fails after a minute."""
    end = time.monotonic() + 60
    while True:
        found = [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
        if not any(running := [words for words in found if str(folder) in words]):
            return
        assert time.monotonic() < end, running
        time.sleep(0.1)


def test_drift_leads_to_a_better_challenger_and_no_prompt_is_left_in_plain(
    place: Path, champion: Path, finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(place, champion)
    capsys.readouterr()
    assert main.main(words(place, champion)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "offered" and found["version"] == "shop:1"
    judged = found["judged"]
    assert judged["better"] and judged["gain"]["low"] > 0
    assert judged["challenger"]["value"] < judged["champion"]["value"] / 2
    with open_registry(str(place / "registry")).database.reading() as connection:
        version = find(connection, Reference("shop", alias="challenger"))
    assert version.number == 1 and version.approval in ("yes", "conditional")
    certificate = verify_bundle(place / "next").certificate
    assert certificate is not None and certificate.artifact_key == read(place / "next").manifest.artifact_key
    assert plain(place) == []
    assert not [path for path in place.iterdir() if "reoptimize" in path.name]
    assert main.main(words(place, champion)) == 0  # again: the same or another version, never half of one
    with open_registry(str(place / "registry")).database.reading() as connection:
        assert find(connection, Reference("shop", alias="challenger")).number >= 1


def test_a_champion_that_is_as_good_stays(
    place: Path, finished: Finished, spoiled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(place, spoiled)
    capsys.readouterr()
    assert main.main(words(place, spoiled)) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "not better" and found["version"] is None
    with open_registry(str(place / "registry")).database.reading() as connection:
        assert connection.exec_driver_sql("select count(*) from versions").scalar() == 0


def test_killed_at_random_moments_it_leaves_nothing_half_registered_and_goes_on(
    place: Path, champion: Path, finished: Finished
) -> None:
    serve(place, champion)
    chance = random.Random(18)
    command = [sys.executable, "-m", "edgehone.cli.main", *words(place, champion)]
    codes = []
    for turn in range(12):
        with (place / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        if turn < 11:
            time.sleep(chance.uniform(0.5, 12))
            process.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        codes.append(process.wait(600))
        wait_for_end_of_all_below(place)
        registry = open_registry(str(place / "registry"))
        with registry.database.reading() as connection:
            rows = connection.exec_driver_sql("select count(*) from versions").scalar()
        assert rows in (0, 1)
        if rows:
            assert main.main(["registry", "verify", "--registry", str(place / "registry")]) == 0
        if codes[-1] == 0:
            break
    assert codes[-1] == 0, (codes, (place / "log").read_text()[-2000:])
    assert verify_bundle(place / "next").certificate is not None and plain(place) == []


def test_operate_starts_it_and_a_better_challenger_is_offered(
    place: Path, champion: Path, finished: Finished
) -> None:
    """From the drift of a server that runs to the challenger, without a person; what is served stays."""
    configure(place, champion)
    samples = ["--samples", str(place / "state"), "--samples-key-file", str(place / "samples.key")]
    made = ["--registry", str(place / "registry"), "--profile", str(place / "profile.toml"), "--soak", "1s"]
    with (
        running(place / "serve.toml", as_config=True) as server,
        operating(server, place / "operators", place / "operate", *samples, *made) as run,
    ):
        ask(server, calm(680))
        ask(server, shouted(300))
        run.wait_for("noticed", 60, lambda one: one.detail["alert"] == "drift_inputs")
        kept = run.wait_for("kept", 600)
        assert kept.detail["remedy"] == "optimize on recent samples" and "offered" in kept.says
        key = {"authorization": "Bearer operator-0123456789"}
        (one,) = server.client.get("/admin/bundles", headers=key).json()["bundles"]
        assert one["change"]["path"] == str(champion) and one["state"] == "ready"
    registry = open_registry(str(place / "registry"))
    with registry.database.reading() as connection:
        (name,) = connection.exec_driver_sql("select distinct name from versions").scalars()
        version = find(connection, Reference(str(name), alias="challenger"))
        steps = connection.exec_driver_sql("select count(*) from events where kind = 'operate'").scalar()
    assert version.approval in ("yes", "conditional") and steps
    assert main.main(["registry", "verify", "--registry", str(place / "registry")]) == 0
    assert plain(place) == []


# Wrong input


def test_wrong_input_is_refused_before_anything_slow(
    place: Path, champion: Path, finished: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*given: str) -> str:
        capsys.readouterr()
        assert main.main([one for one in given if one != "--json"]) == 2
        return capsys.readouterr().err

    assert "there is no folder" in said(*words(place, champion))
    (place / "state").mkdir()
    assert "no server has kept samples" in said(*words(place, champion))
    with running(
        champion,
        "--state",
        str(place / "state"),
        "--keep-samples",
        "64",
        "--samples-key-file",
        str(place / "samples.key"),
    ) as server:
        ask(server, shouted(30))
        assert server.end() == 0
    assert "30 different requests were kept of bundle; 64 are needed" in said(*words(place, champion))
    assert "characters of" in said(*words(place, champion, "--least", "10"))
    (place / "other.key").write_text("ef" * 32)
    (place / "other.key").chmod(0o600)
    assert "the key does not open" in said(
        *words(place, champion, "--samples-key-file", str(place / "other.key"))
    )
    assert "none of this bundle" in said(*words(place, champion, "--model", "other"))
    assert "no such bundle" in said(*words(place, place / "nothing"))
    (place / "file").write_text("x")
    assert "file" in said(*words(place, champion, "--registry", str(place / "file")))
    assert "no key is given" in said("reoptimize", str(champion), "--state", str(place / "state"))
    assert plain(place) == [] and not (place / "next").exists()
    assert main.main(["reoptimize", str(champion), "--state", str(place / "state"), "--remove-samples"]) == 0
    assert not (place / "state" / "samples").exists()
    assert not discard(place / "next")
