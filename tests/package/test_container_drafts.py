"""Images of bundles that draft tokens: they answer with the tokens that the same artifact gives without drafts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

import edgehone
from edgehone.package import registry
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack
from tests.package.containers import Container, podman, started
from tests.serve.conftest import bundle_of

__all__ = ["bundle_of"]  # a fixture
pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.xdist_group("container")]
# A backend, its recipe (the exact one if empty), settings, and the words of llama-server's command line.
CASES: Mapping[str, tuple[str, str, Mapping[str, int], tuple[str, ...]]] = {
    "llama.cpp, prompt lookup": ("llamacpp", "", {"prompt_lookup": 3}, ("--spec-type", "ngram-simple")),
    "llama.cpp, draft model": ("llamacpp", "Q8_0+draft_Q4_0", {}, ("--model-draft", "draft-simple")),
    "OpenVINO, prompt lookup": ("openvino", "", {"prompt_lookup": 3}, ()),
}
_COMMANDS = """
import json, pathlib
commands = [one.read_bytes().decode().split("\\0") for one in pathlib.Path("/proc").glob("[0-9]*/cmdline")]
print(json.dumps(commands))
"""


@pytest.mark.parametrize("case", CASES)
def test_an_image_that_drafts_answers_what_is_proven_without_drafts(
    case: str, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    backend, recipe, settings, words = CASES[case]
    bundle = bundle_of(backend, recipe, settings)
    drafting = edgehone.read(bundle).manifest.recipe["settings"]
    assert {"prompt_lookup", "draft"} & {*drafting}
    podman()  # skips where a program is missing
    packed = pack(bundle, Order(registry.load("container"), tmp_path / "package", {"name": "text"}))
    carried = {one.bundle for one in verify_package(packed.path).package.carried}
    artifact = {path.relative_to(bundle).as_posix() for path in (bundle / "artifact").rglob("*")}
    assert {one for one in artifact if (bundle / one).is_file()} <= carried
    with started(packed.path) as container:
        _proven(container)
        if words:
            server = next(one for one in _commands(container) if one[0].endswith("llama-server"))
            assert {*words} <= {*server}
        # The last canary repeats itself, so it has drafts. In the others ties of two tokens may turn, also without
        # drafts: what a slot has computed for another prompt before has other sums.
        canary = edgehone.read(bundle).manifest.canaries[-1]
        told = _told(container, canary["prompt"], len(canary["answer"]))
        assert _told(container, [*canary["prompt"], *canary["answer"]], 1).startswith(told)
        code = container.end()
    assert code == 0


def _proven(container: Container) -> None:
    """Check that the server has compared the ids. One may differ by a tie: several tokens are computed at a time."""
    proof = container.client.get("/readyz").json()["proofs"]["text"]
    assert proof in (
        "all 64 tokens of the canaries are equal",
        "1 of the 64 tokens of the canaries differs",
    )


def _commands(container: Container) -> list[list[str]]:
    done = container.python(_COMMANDS)
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return [one for one in found if one[0]]


def _told(container: Container, prompt: Sequence[int], count: int) -> str:
    """Return the text of a prompt and its answer."""
    asked = {"model": "text", "prompt": prompt, "max_tokens": count, "temperature": 0, "echo": True}
    told: str = container.post("/v1/completions", asked)["choices"][0]["text"]
    return told
