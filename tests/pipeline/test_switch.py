"""The switch of a server to a new version: under load, rolled back when requests fail, and taken up after a kill."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import edgehone
from edgehone.core.errors import InputError, JobError
from edgehone.pipeline.serving import switch
from edgehone.pipeline.serving.requests import asking
from edgehone.serve.load.loads import closed_for
from edgehone.serve.load.started import Started, server
from tests.finished import Finished
from tests.pipeline.nullpipeline import DEPLOYMENT, Place, outcomes, passed_twice
from tests.pipeline.test_killed import killed_after

pytestmark = [pytest.mark.whole, pytest.mark.long]
# Other tests run at the same time, so latencies tell nothing; one short stage shows the way.
RULES = """
patience_seconds = 20
baseline_requests = 30
[objective.errors]
not_worse = 0.4
[objective.latency]
factor = 1000.0
not_worse = 0.5
[objective.tail]
factor = 1000.0
not_worse = 0.5
[objective.agreement]
not_worse = 0.6
[[strategy.ramp]]
name = "shadow"
shadow = true
seconds = 1
requests = 20
[[strategy.ramp]]
name = "50 %"
weight = 0.5
seconds = 1
requests = 20
"""
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def versions(finished: Finished, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two bundles of a model, the second with another decision."""
    finished.optimize(tmp_path / "second", "speedup=1.01")
    yield finished.bundle, tmp_path / "second"


@asynccontextmanager
async def serving(bundle: Path, folder: Path) -> AsyncIterator[tuple[Started, str]]:
    keys = folder / "operators"
    keys.touch(mode=0o600)
    keys.write_text(f"{KEY}\n")
    settings = folder / "serve.toml"
    settings.write_text(f"[bundles.tiny]\npath = {json.dumps(str(bundle))}\n")
    async with server(None, "--config", str(settings), "--admin-key-file", str(keys)) as started:
        yield started, str(keys)


def manifest(bundle: Path) -> str | None:
    return edgehone.read(bundle).manifest.digest


def test_requests_are_answered_while_a_server_is_switched(
    versions: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = versions

    async def tried() -> None:
        async with serving(old, tmp_path) as (started, keys):
            url = f"http://127.0.0.1:{started.port}"
            body, back = {"path": str(new), "name": "tiny"}, {"path": str(old), "name": "tiny"}
            found = await asyncio.to_thread(switch.switch, url, keys, body, 0.3, back)
            assert found["failed"] == 0 and not found["rolled_back"]
            assert found["during"]["answered"] > 0 and found["after"]["answered"] > 0
            assert found["manifest"] == manifest(new)

    asyncio.run(tried())


def test_a_version_whose_requests_fail_is_rolled_back(
    versions: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = versions
    monkeypatch.setattr(switch, "_EXPECTED", (418,))  # every answer tells of a failure

    async def tried() -> None:
        async with serving(old, tmp_path) as (started, keys):
            url = f"http://127.0.0.1:{started.port}"
            body, back = {"path": str(new), "name": "tiny"}, {"path": str(old), "name": "tiny"}
            found = await asyncio.to_thread(switch.switch, url, keys, body, 0.2, back)
            assert found["failed"] > 0 and found["rolled_back"]
            served = await asyncio.to_thread(switch.served, url, keys, "tiny")
            assert served is not None and served["manifest"] == manifest(old)

    asyncio.run(tried())


def test_a_version_that_is_not_proven_leaves_the_old_one(versions: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = versions
    broken = next(one for one in (new / "artifact").iterdir() if one.suffix == ".npz")
    broken.write_bytes(b"no table")

    async def tried() -> None:
        async with serving(old, tmp_path) as (started, keys):
            url = f"http://127.0.0.1:{started.port}"
            with pytest.raises(JobError, match="refuses with status"):
                await asyncio.to_thread(switch.change, url, keys, {"path": str(new), "name": "tiny"})
            served = await asyncio.to_thread(switch.served, url, keys, "tiny")
            assert served is not None and served["manifest"] == manifest(old)

    asyncio.run(tried())


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "http://kitchen.example:80", "127.0.0.1:80", "http://127.0.0.1"]
)
def test_a_server_elsewhere_is_refused(url: str, tmp_path: Path) -> None:
    keys = tmp_path / "operators"
    keys.touch(mode=0o600)
    keys.write_text(f"{KEY}\n")
    with pytest.raises(InputError, match=r"deployment\.server is"):
        switch.served(url, str(keys), "tiny")


@pytest.mark.parametrize("traffic", [False, True])
def test_a_ramp_needs_traffic_to_pass(versions: tuple[Path, Path], tmp_path: Path, traffic: bool) -> None:
    old, new = versions
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "deploy.yaml").write_text(DEPLOYMENT)
    (folder / "rules.toml").write_text(RULES)

    async def tried() -> None:
        async with serving(old, tmp_path) as (started, keys):
            url = f"http://127.0.0.1:{started.port}"
            place = Place(folder, Path(old).parent / "home")
            words = ["deploy.yaml", "--bundle", str(new), "--set", f"deployment.server={url}"]
            words += ["--set", f"deployment.admin_key_file={keys}", "--set", "deployment.rules=rules.toml"]
            words += ["--set", "deployment.traffic_ramping=gradual"]
            running = asyncio.create_task(asyncio.to_thread(place.run, "run", *words, "--json"))
            with asking(old, "tiny") as asked:
                while not running.done():
                    if traffic:
                        await closed_for(started.port, asked.ask, 4, 0.3)
                    await asyncio.sleep(0.01)
            done = await running
            served = await asyncio.to_thread(switch.served, url, keys, "tiny")
            assert served is not None
            said = json.loads(done.stdout)["stages"][1]["said"]
            if traffic:
                assert done.returncode == 0, done.stderr[-3000:]
                assert served["manifest"] == manifest(new)
                assert place.registry("show", "tiny:production")["number"] == 1
            else:
                assert done.returncode == 1 and "not enough traffic" in said
                assert served["manifest"] == manifest(old)
                assert place.registry("show", "tiny:production") is None

    asyncio.run(tried())


def test_a_deployment_to_a_server_that_is_killed_goes_on(versions: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = versions
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / "deploy.yaml").write_text(DEPLOYMENT)

    async def tried() -> None:
        async with serving(old, tmp_path) as (started, keys):
            url = f"http://127.0.0.1:{started.port}"
            place = Place(folder, Path(old).parent / "home")
            words = ["deploy.yaml", "--bundle", str(new), "--set", f"deployment.server={url}"]
            words += ["--set", f"deployment.admin_key_file={keys}"]
            staged = await asyncio.to_thread(
                place.run, "run", *words, "--stage", "staging_deployment", "--json"
            )
            assert staged.returncode == 0, staged.stderr[-2000:]
            for seconds in (0.8, 1.6, 2.4, 3.2):
                await asyncio.to_thread(killed_after, place, seconds, *words)
                served = await asyncio.to_thread(switch.served, url, keys, "tiny")
                assert served is not None and served["manifest"] in (manifest(old), manifest(new))
            done = await asyncio.to_thread(place.run, "run", *words, "--json")
            assert done.returncode == 0, done.stderr[-2000:]
            served = await asyncio.to_thread(switch.served, url, keys, "tiny")
            assert served is not None and served["manifest"] == manifest(new)
            assert place.registry("show", "tiny:production")["number"] == 1
            again = await asyncio.to_thread(place.run, "run", *words, "--json")
            assert set(outcomes(again).values()) == {"unchanged"}
            assert not passed_twice(folder / "deploy-run")

    asyncio.run(tried())
