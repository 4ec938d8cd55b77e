"""Downloads from a hub on this machine: pinned, resumed, compared with the stated digests; every lie is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgehone.conformance import tiny_gguf
from edgehone.core.errors import EdgehoneError, InputError, ModelError, SetupError
from edgehone.core.events import Event, silent
from edgehone.hub import download as downloading
from edgehone.hub import fetch
from edgehone.hub.download import download
from edgehone.model.inspect import inspect
from tests.disks import small_file_system
from tests.hub.hubserver import COMMIT, Hub, serving
from tests.model.conftest import CONFIG, TOKENIZER, write_weights


@pytest.fixture
def hub(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch, "FIRST_PAUSE", 0.001)
    write_weights(tmp_path / "w")
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": json.dumps(TOKENIZER).encode(),
        "model.safetensors": (tmp_path / "w").read_bytes(),
        "pytorch_model.bin": b"pickle",
        "original/consolidated.safetensors": b"old",
        "other.safetensors": b"old",
        "run.py": b"code",
        "README.md": "Größe".encode(),
    }
    with serving(Hub(files)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def asked(hub: Hub) -> list[tuple[str, str | None]]:
    return [(path.rpartition("/")[2], span) for path, span, _ in hub.requests if "/api/" not in path]


def refused(kind: type[EdgehoneError], said: str, name: str = "acme/tiny", **options: Any) -> None:
    with pytest.raises(kind) as caught:
        download(name, silent, **options)
    assert said in caught.value.message and caught.value.hint and caught.value.exit_code == 2
    assert (name.rpartition(":")[2] if ":" in name else "!") not in caught.value.hint  # what has just failed


def test_a_model_is_downloaded_into_the_hubs_cache(hub: Hub, tmp_path: Path) -> None:
    told: list[str] = []
    folder = download("acme/tiny", lambda event: told.append(event.detail))
    assert folder == tmp_path / "cache" / "models--acme--tiny" / "snapshots" / COMMIT
    assert inspect(folder).parameters == inspect("acme/tiny").parameters == 512
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json"
    ]  # fmt: skip
    assert all(path.is_symlink() for path in folder.iterdir())
    assert told[-1] == f"acme/tiny at the commit {COMMIT}" and any("MB" in one for one in told)
    assert (folder.parent.parent / "refs" / "main").read_text() == COMMIT


def test_a_pinned_commit_that_is_whole_needs_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = download(f"acme/tiny@{COMMIT}", silent)
    assert not (folder.parent.parent / "refs").exists()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert download("acme/tiny", silent, COMMIT) == folder
    (folder / "config.json").unlink()
    refused(SetupError, "cannot be reached", revision=COMMIT)


def test_only_changed_files_are_fetched_again(hub: Hub) -> None:
    download("acme/tiny", silent)
    hub.requests.clear()
    hub.files = {**hub.files, "config.json": json.dumps({**CONFIG, "x": 1}).encode()}
    hub.commit = "d" * 40
    folder = download("acme/tiny", silent)
    assert folder.name == hub.commit and asked(hub) == [("config.json", None)]
    assert json.loads((folder / "config.json").read_text())["x"] == 1


def test_a_broken_connection_is_continued_where_it_was(hub: Hub) -> None:
    hub.files = {"model.safetensors": hub.files["model.safetensors"], "config.json": hub.files["config.json"]}
    hub.break_after = [10, 20, len(hub.files["config.json"]), 40]
    folder = download("acme/tiny", silent)
    assert asked(hub) == [
        ("config.json", None), ("config.json", "bytes=10-"), ("config.json", "bytes=30-"),
        ("model.safetensors", None), ("model.safetensors", "bytes=40-"),
    ]  # fmt: skip
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_download_that_never_ends_is_given_up_and_continued_later(hub: Hub) -> None:
    hub.files = {"model.safetensors": bytes(1000)}
    hub.break_after = [400] + [0] * fetch.ATTEMPTS
    refused(SetupError, "stopped at 400 of 1000 bytes")
    hub.requests.clear()
    hub.break_after = []
    folder = download("acme/tiny", silent)
    assert (
        asked(hub) == [("model.safetensors", "bytes=400-")]
        and (folder / "model.safetensors").stat().st_size == 1000
    )


def test_a_server_without_ranges_sends_the_whole_again(hub: Hub) -> None:
    hub.ranges, hub.break_after = False, [7, 20]
    folder = download("acme/tiny", silent)
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_damaged_rest_of_an_earlier_attempt_is_replaced(hub: Hub) -> None:
    hub.files = {"model.safetensors": bytes(1000)}
    hub.break_after = [400] + [0] * fetch.ATTEMPTS
    refused(SetupError, "stopped at 400")
    hub.break_after = []
    partial = next(Path(os.environ["HF_HUB_CACHE"]).rglob("*.incomplete"))
    partial.write_bytes(b"x" * 400)
    folder = download("acme/tiny", silent)
    assert (folder / "model.safetensors").read_bytes() == bytes(1000) and len(asked(hub)) >= 3
    assert not list(folder.parent.parent.rglob("*.incomplete"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_other_content_than_the_digest_says_is_refused(hub: Hub, name: str) -> None:
    hub.change = lambda file, content: content[:-1] + b"x" if file == name else content
    refused(InputError, f"{name} of acme/tiny has the sha")
    with pytest.raises(ModelError) as caught:  # no empty snapshot is taken for a model
        inspect("acme/tiny")
    assert "--download" in str(caught.value.hint)
    assert not list(Path(os.environ["HF_HUB_CACHE"]).rglob(f"snapshots/*/{name}"))
    assert not list(Path(os.environ["HF_HUB_CACHE"]).rglob("*.incomplete"))


def test_more_bytes_than_the_hub_states_are_refused(hub: Hub) -> None:
    hub.change = lambda file, content: content + b"more"
    refused(InputError, "has more than the")


def test_a_range_that_was_not_asked_for_is_refused(hub: Hub) -> None:
    hub.files = {"model.safetensors": bytes(1000)}
    hub.break_after = [400]
    hub.change = lambda file, content: content if len(hub.requests) < 3 else bytes(2000)
    refused(InputError, "sent the range")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rfilename": "../../evil.json"}, "no name in a folder"),
        ({"rfilename": "/etc/x.json"}, "no name in a folder"),
        ({"rfilename": None}, "no name in a folder"),
        ({"size": None, "lfs": None}, "states the size None"),
        ({"size": -1, "lfs": None}, "states the size -1"),
        ({"blobId": "../x", "lfs": None}, "the sha1 '../x'"),
        ({"lfs": {"size": 3, "sha256": "x"}}, "the sha256 'x'"),
    ],
)
def test_listings_that_cannot_be_checked_are_refused(hub: Hub, change: dict[str, Any], said: str) -> None:
    hub.state = lambda entry: entry.update(change)
    refused(InputError, said)
    cache = Path(os.environ["HF_HUB_CACHE"])
    assert not list(cache.rglob("snapshots/*/*")) and not list(cache.parent.rglob("evil.json"))


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (404, InputError, "has no acme/tiny"),
        (401, InputError, "without permission (401), or there is no such model"),
        (403, InputError, "without permission"),
        (418, InputError, "answers 418"),
        (500, SetupError, "does not answer"),
        (429, SetupError, "does not answer"),
    ],
)
def test_refusals_of_the_hub_are_explained(
    hub: Hub, status: int, kind: type[EdgehoneError], said: str
) -> None:
    hub.status = status
    refused(kind, said)


def test_other_commits_and_names_are_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(InputError, "sends the commit", f"acme/tiny@{'e' * 40}")
    hub.commit = "main"
    refused(InputError, "names the commit 'main'")
    refused(InputError, "neither a folder nor a hub name", "tiny")
    refused(InputError, "name two revisions", "acme/tiny@v1", revision="v2")
    monkeypatch.setenv("HF_ENDPOINT", "ftp://x")
    refused(InputError, "not an address")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused(SetupError, "cannot be reached")


def test_the_token_is_given_to_the_hub_only(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with serving(Hub(hub.files)) as elsewhere:
        hub.redirect = elsewhere.address
        folder = download("acme/tiny", silent)
    assert {token for _, _, token in hub.requests} == {"Bearer secret"}
    assert {token for _, _, token in elsewhere.requests} == {None} and len(elsewhere.requests) == 4
    assert inspect(folder).parameters == 512


def test_a_redirect_to_a_file_of_this_machine_is_refused(hub: Hub) -> None:
    hub.redirect = "file:///etc"
    refused(InputError, "a redirect that is not followed")


def test_a_gguf_file_is_chosen_by_a_part_of_its_name(hub: Hub, tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "x.gguf").read_bytes()
    hub.files = {"m-Q4_K_M.gguf": file, "m-Q8_0.gguf": file, "mmproj-m.gguf": file, "README.md": b"x"}
    path = download("acme/tiny:q8_0", silent)
    assert path.name == "m-Q8_0.gguf" and inspect(path).format == inspect("acme/tiny:Q8_0").format == "gguf"
    assert {name for name, _ in asked(hub)} == {"m-Q8_0.gguf", "README.md"}
    refused(InputError, "2 of its GGUF files fit: m-Q4_K_M.gguf, m-Q8_0.gguf")
    refused(InputError, "0 of its GGUF files fit", "acme/tiny:Q3")
    hub.files = {"README.md": b"x"}
    refused(InputError, "neither safetensors nor GGUF")


def test_a_full_disk_is_told_and_what_arrived_is_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(os.environ["HF_HUB_CACHE"])
    hub.files = {"model.safetensors": bytes(1 << 20)}
    with small_file_system(place, "512k"):
        refused(SetupError, "GB are free in")
        monkeypatch.setattr(
            downloading, "_check_space", lambda blobs, missing: None
        )  # filled by others meanwhile
        refused(SetupError, "no space left for model.safetensors")
        assert next(place.rglob("*.incomplete")).stat().st_size > 0 and not list(place.rglob("snapshots/*/*"))


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert download(str(tmp_path), silent) == tmp_path


def test_a_killed_download_is_continued(hub: Hub) -> None:
    """kill -9 in the middle of a file: the snapshot has no broken file, and the next run fetches the rest only."""
    hub.files = {"model.safetensors": os.urandom(8 << 20)}
    code = (
        "from edgehone.hub.download import download\n"
        "from edgehone.hub import fetch\nimport time\nread = fetch._read\n"
        "fetch._PIECE = 1 << 16\n"
        "def slow(response):\n    time.sleep(0.01)\n    return read(response)\n"
        "fetch._read = slow\n"
        "download('acme/tiny', lambda event: None)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    cache, until = Path(os.environ["HF_HUB_CACHE"]), time.monotonic() + 60
    while not any(path.stat().st_size > 1 << 18 for path in cache.rglob("*.incomplete")):
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not list(cache.rglob("snapshots/*/*"))
    hub.requests.clear()
    folder = download("acme/tiny", silent)
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    spans = [span for _, span in asked(hub)]
    assert len(spans) == 1 and spans[0] and int(spans[0].removeprefix("bytes=").removesuffix("-")) > 1 << 18


def test_progress_is_told_in_per_cent(hub: Hub) -> None:
    events: list[Event] = []
    download("acme/tiny", events.append)
    fractions = [event.fraction for event in events if event.fraction is not None]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
