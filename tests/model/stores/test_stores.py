"""Models in the hub's cache, in Ollama's store and in LM Studio's folder: found by name, refused if damaged."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgehone.conformance import tiny_gguf
from edgehone.core.errors import ModelError
from edgehone.model.digest import digest_model
from edgehone.model.inspect import inspect
from edgehone.model.stores import hub_cache, ollama
from edgehone.model.stores.locate import locate, named
from tests.model.conftest import CONFIG, TOKENIZER, write_weights

COMMIT, OLDER = "a" * 40, "b" * 40


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ModelError) as caught:
        call()
    assert caught.value.hint and caught.value.exit_code == 2
    return f"{caught.value.message} | {caught.value.hint}"


def link(snapshot: Path, name: str, content: bytes) -> None:
    """A file of a snapshot: a link to its blob, as huggingface_hub makes it."""
    blob = snapshot.parent.parent / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
    (snapshot / name).symlink_to(Path("../../blobs") / blob.name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache with one Llama in two shards, of which main is the newer of two snapshots."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "hub" / "models--acme--tiny"
    scratch = tmp_path / "shards"
    scratch.mkdir()
    write_weights(scratch / "model-1.safetensors", {"model.embed_tokens.weight": ("BF16", (32, 8))})
    write_weights(scratch / "model-2.safetensors", {"lm_head.weight": ("F32", (32, 8))})
    index = {
        "model.embed_tokens.weight": "model-1.safetensors",
        "lm_head.weight": "model-2.safetensors",
    }
    for commit in (COMMIT, OLDER):
        snapshot = repository / "snapshots" / commit
        for shard in sorted(scratch.iterdir()):
            link(snapshot, shard.name, shard.read_bytes())
        link(snapshot, "model.safetensors.index.json", json.dumps({"weight_map": index}).encode())
        link(snapshot, "config.json", json.dumps(CONFIG).encode())
        link(snapshot, "tokenizer.json", json.dumps(TOKENIZER).encode())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}", "@aaaaaaa"])
def test_a_hub_name_is_found_in_the_cache(hub: Path, revision: str) -> None:
    assert locate(f"acme/tiny{revision}") == hub / "snapshots" / COMMIT
    info = inspect(f"acme/tiny{revision}")
    assert info.parameters == 512 and len(digest_model(info)) == 64


def test_a_model_of_the_hub_without_an_owner_is_found(hub: Path) -> None:
    hub.rename(hub.with_name("models--gpt2"))
    assert locate("gpt2") == locate("gpt2@main") == hub.with_name("models--gpt2") / "snapshots" / COMMIT
    assert named(hub.with_name("models--gpt2")) == named("gpt2") == "gpt2"
    assert locate("gpt3") == Path("gpt3")


def test_another_revision_is_found_by_its_commit(hub: Path) -> None:
    assert locate("acme/tiny@bbbbbbb") == hub / "snapshots" / OLDER


def test_a_repositorys_folder_stands_for_its_snapshot(hub: Path) -> None:
    assert locate(hub) == locate(hub / "snapshots" / COMMIT) == hub / "snapshots" / COMMIT
    assert named(hub) == named("acme/tiny@main") == "tiny"
    assert hub_cache.hub_name_of(hub / "snapshots" / COMMIT) == "acme/tiny"


def test_what_the_cache_lacks_is_told(hub: Path) -> None:
    assert "no snapshot of the revision v2" in refused(lambda: locate("acme/tiny@v2"))
    assert "whose files have no names" in refused(lambda: locate(next((hub / "blobs").iterdir())))
    assert "--download" in refused(lambda: inspect("acme/other"))
    (hub / "refs" / "main").write_text("nonsense")
    assert "not a commit" in refused(lambda: locate("acme/tiny"))


def test_a_dangling_link_is_told_with_the_command_that_repairs_it(hub: Path) -> None:
    shard = hub / "snapshots" / COMMIT / "model-2.safetensors"
    shard.resolve().unlink()
    for call in (
        lambda: inspect("acme/tiny"),
        lambda: inspect(hub / "snapshots" / COMMIT),
        lambda: inspect(shard),
    ):
        said = refused(call)
        assert "model-2.safetensors is a link to" in said and "edgehone optimize acme/tiny --download" in said


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_a_snapshot_of_which_a_part_is_cached_names_the_download(hub: Path, kept: int) -> None:
    """As after a program that asked the hub for the configuration or the tokenizer only."""
    snapshot = hub / "snapshots" / COMMIT
    names = ["config.json", "tokenizer.json", "model.safetensors.index.json"]
    for file in list(snapshot.iterdir()):
        if file.name not in names[:kept]:
            file.unlink()
    assert "edgehone optimize acme/tiny --download" in refused(lambda: inspect("acme/tiny"))
    assert "edgehone optimize acme/tiny:Q8_0 --download" in refused(lambda: inspect("acme/tiny:Q8_0"))


def test_a_missing_shard_outside_of_a_cache_is_told(hub: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(hub / "snapshots" / COMMIT, copy)
    (copy / "model-2.safetensors").unlink()
    assert "model-2.safetensors is missing: the index puts 1 tensors there" in refused(lambda: inspect(copy))


def test_a_blob_that_is_not_what_its_name_says_is_refused(hub: Path) -> None:
    shard = (hub / "snapshots" / COMMIT / "model-1.safetensors").resolve()
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    assert "is damaged: its SHA-256 is" in refused(lambda: digest_model(inspect("acme/tiny")))


def test_a_gguf_file_is_chosen_by_a_part_of_its_name(hub: Path, tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "x.gguf").read_bytes()
    snapshot = hub.with_name("models--acme--tiny-GGUF") / "snapshots" / COMMIT
    for name in ("tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", "mmproj-tiny.gguf"):
        link(snapshot, name, file)
    assert inspect("acme/tiny-GGUF:q8_0").path == snapshot / "tiny-Q8_0.gguf"
    assert "2 files have 'tiny' in their names: tiny-Q4_K_M.gguf, tiny-Q8_0.gguf" in refused(
        lambda: locate("acme/tiny-GGUF:tiny")
    )
    assert "0 files have 'Q3' in their names" in refused(lambda: locate("acme/tiny-GGUF:Q3"))
    assert "holds 2 models" in refused(lambda: inspect("acme/tiny-GGUF"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ollama's folder with one model, tiny:latest."""
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    store = tmp_path / "ollama"
    (store / "blobs").mkdir(parents=True)
    file = tiny_gguf.write(tmp_path / "x.gguf")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.rename(store / "blobs" / f"sha256-{digest}")
    manifest(store, layer("model", digest, (store / "blobs" / f"sha256-{digest}").stat().st_size))
    return store


def layer(kind: str, digest: str, size: Any) -> dict[str, Any]:
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": size}


def manifest(
    store: Path, *layers: dict[str, Any], path: str = "registry.ollama.ai/library/tiny/latest"
) -> Path:
    place = store / "manifests" / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"schemaVersion": 2, "layers": [*layers, layer("template", "0" * 64, 1)]}))
    return place


@pytest.mark.parametrize(
    "name", ["tiny", "tiny:latest", "library/tiny", "registry.ollama.ai/library/tiny:latest"]
)
def test_a_model_of_ollama_is_found_by_its_name(store: Path, name: str) -> None:
    info = inspect(f"ollama:{name}")
    assert info.format == "gguf" and info.path.parent == store / "blobs" and info.task == "text-generation"
    assert len(digest_model(info)) == 64 and named(f"ollama:{name}").startswith("tiny")
    assert list(ollama.installed()) == ["tiny:latest"]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/b/c/d", "tiny:..", "a:b:c", "/etc"])
def test_what_is_no_name_of_ollama_is_refused(store: Path, name: str) -> None:
    refused(lambda: inspect(f"ollama:{name}"))


def test_an_unknown_model_of_ollama_hints_at_a_similar_one(store: Path) -> None:
    assert "did you mean 'tiny:latest'?" in refused(lambda: inspect("ollama:tinny"))
    shutil.rmtree(store / "manifests")
    assert "ollama pull" in refused(lambda: inspect("ollama:tiny"))


def second_layout(store: Path, whole: dict[str, Any], host: str = "ollama.com") -> Path:
    """A manifest as newer versions of Ollama keep it: a blob, and a link to it."""
    blob = store / "blobs" / f"sha256-{hashlib.sha256(json.dumps(whole).encode()).hexdigest()}"
    blob.write_text(json.dumps(whole))
    place = store / "manifests-v2" / host / "library" / "tiny" / "latest"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(Path("../../../../blobs") / blob.name)
    return blob


def test_ollamas_second_layout_is_preferred_and_checked(store: Path) -> None:
    old = store / "manifests/registry.ollama.ai/library/tiny/latest"
    whole = json.loads(old.read_text())
    old.write_text("damaged")
    blob = second_layout(store, whole)
    for name in ("tiny", "TINY:latest", "ollama.com/library/tiny", "registry.ollama.ai/library/tiny"):
        assert inspect(f"ollama:{name}").format == "gguf"
    assert list(ollama.installed()) == ["tiny:latest"]
    blob.write_text(json.dumps({**whole, "schemaVersion": 3}))
    assert f"{blob.name} is damaged" in refused(lambda: inspect("ollama:tiny"))
    blob.unlink()  # as after an older version has removed what it does not know
    assert str(old) in refused(lambda: inspect("ollama:tiny"))
    old.unlink()
    assert "Ollama has no model 'tiny'" in refused(lambda: inspect("ollama:tiny"))


def test_the_gguf_file_is_chosen_of_ollamas_list_of_manifests(store: Path) -> None:
    whole = json.loads((store / "manifests/registry.ollama.ai/library/tiny/latest").read_text())
    blob = second_layout(store, whole, host="elsewhere")
    told = {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "format": "gguf"}
    kept = {**told, "runner": "llamacpp", "digest": blob.name.replace("-", ":")}
    tensors = {**told, "runner": "mlx", "layers": [layer("tensor", "0" * 64, 1)]}
    kind = {"schemaVersion": 2, "mediaType": "application/vnd.ollama.manifest.list.v2+json"}
    for manifests in ([tensors, kept], [tensors, {**whole, "runner": "ollama"}, {**kept, "digest": "?"}]):
        second_layout(store, {**kind, "manifests": manifests})
        assert inspect("ollama:tiny").format == "gguf"
    refusals: list[tuple[Any, str]] = [
        ([tensors], "has no GGUF file: it is for mlx"),
        ([], "has no GGUF file: it is for no program"),
        (3, "no list of manifests"),
        ([{**kept, "digest": "sha256:x"}], "digest is 'sha256:x'"),
        ([{**kept, "digest": f"sha256:{'0' * 64}"}], "is missing"),
    ]
    for wrong, said in refusals:
        second_layout(store, {**kind, "manifests": wrong})
        assert said in refused(lambda: inspect("ollama:tiny"))


def test_damage_in_ollamas_store_is_told(store: Path) -> None:
    place = store / "manifests/registry.ollama.ai/library/tiny/latest"
    whole = json.loads(place.read_text())
    model = whole["layers"][0]
    for text in ("", "{", "[]", '{"layers": 3}', '{"layers": [3]}', '{"layers": []}'):
        place.write_text(text)
        assert str(place) in refused(lambda: inspect("ollama:tiny"))
    for change, said in (({"size": 3}, "bytes, and the manifest"), ({"digest": "sha256:x"}, "digest is 'sha256:x'"),
                         ({"digest": f"sha256:{'0' * 64}"}, "is missing")):  # fmt: skip
        manifest(store, {**model, **change})
        assert said in refused(lambda: inspect("ollama:tiny"))
    manifest(store, model, layer("adapter", "0" * 64, 1))
    assert "a model and an adapter" in refused(lambda: inspect("ollama:tiny"))
    manifest(store, layer("tensor", "0" * 64, 1))
    assert "single tensors" in refused(lambda: inspect("ollama:tiny"))
    manifest(store, model)
    blob = next((store / "blobs").iterdir())
    raw = bytearray(blob.read_bytes())
    raw[-1] ^= 1
    blob.write_bytes(raw)
    assert "is damaged" in refused(lambda: digest_model(inspect("ollama:tiny")))


def test_models_of_lm_studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".lmstudio" / "models" / "acme" / "tiny"
    folder.mkdir(parents=True)
    tiny_gguf.write(folder / "tiny-Q8_0.gguf")
    tiny_gguf.write(folder / "mmproj-tiny.gguf")
    assert inspect("lmstudio:acme/tiny").path == inspect(folder).path == folder / "tiny-Q8_0.gguf"
    tiny_gguf.write(folder / "tiny-Q4_K_M.gguf")
    assert inspect("lmstudio:acme/tiny:q4").path == folder / "tiny-Q4_K_M.gguf"
    assert "there are 2 models" in refused(lambda: inspect("lmstudio:acme/tiny"))
    assert "did you mean 'acme/tiny'?" in refused(lambda: inspect("lmstudio:acme/tinny"))
    for name in ("tiny", "../x", "a/b/c", ""):
        assert "not a name of LM Studio" in refused(partial(inspect, f"lmstudio:{name}"))
    (tmp_path / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'moved'}\n")
    shutil.move(tmp_path / ".lmstudio", tmp_path / "moved")
    assert inspect("lmstudio:acme/tiny:q8").path.is_relative_to(tmp_path / "moved")


@pytest.mark.parametrize("settings", ["", "[]", "{", '{"downloadsFolder": 3}', '{"downloadsFolder": ""}'])
def test_lm_studios_own_folder_of_models_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home, chosen = tmp_path / ".lmstudio", tmp_path / "disk" / "llms"
    for folder in (home / "models" / "acme" / "old", chosen / "acme" / "new"):
        folder.mkdir(parents=True)
        tiny_gguf.write(folder / "x.gguf")
    (home / "settings.json").write_text(settings)
    assert inspect("lmstudio:acme/old").path.is_relative_to(home)
    assert str(home / "models") in refused(lambda: inspect("lmstudio:acme/absent"))
    (home / "settings.json").write_text(json.dumps({"downloadsFolder": str(chosen)}))
    assert inspect("lmstudio:acme/new").path.is_relative_to(chosen)
