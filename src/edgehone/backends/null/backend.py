"""null: a simulated backend that ships with edgehone, so that everything around backends is tested in milliseconds.

Its model is real: a bigram table over bytes (`make_model` counts one from a text), which the recipes quantize to 8, 4
or 2 bits. Its speed is simulated: a session computes the time of each token from a fixed pace and moves its own clock
on by it, so figures are exactly reproducible. A model's config.json may ask for recipes that fail (`"null_faults":
["crash", "hang", "memory", "nan", "jump"]`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgehone.backends.base import (
    Needs,
    Recipe,
    Step,
    Support,
    TunableSetting,
)
from edgehone.backends.null.clock import VirtualClock
from edgehone.backends.null.drawing import draw
from edgehone.backends.sessions import (
    Generation,
    OperatorTime,
    Sampling,
    WorkerJob,
)
from edgehone.backends.shared import quantized_weights
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import InputError
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgehone.backends.null.engine import NullEngine
    from edgehone.backends.null.graph import NullGraphSession
    from edgehone.backends.sessions import (
        Logits,
    )

NAME = "null"
REFERENCE = True
NEEDS = Needs()

BOS = 256
VOCABULARY = 257
FAULTS = ("crash", "hang", "memory", "nan", "jump")
# Simulated milliseconds per token, by bits; 32 is the original. A prompt token takes a tenth of it.
_PACE = {32: 4.0, 16: 2.2, 8: 1.0, 4: 0.5, 2: 0.4}
# The file of an artifact with the likeliest id after each id, 2 bytes each.
_LIKELIEST = "likeliest.bin"
# Simulated seconds to open a session.
_OPENING = 0.02


def supports(model: ModelInfo) -> Support:
    """Support models of type "null" only."""
    if model.model_type == "null" and model.format == "huggingface":
        return Support(True)
    return Support(False, (f"null takes its own fake models only, not '{model.model_type}'",))


def recipes(model: ModelInfo) -> list[Recipe]:
    """Return f32 (exact), q8, q4, q2, q8+text (calibrated) and the failing recipes that config.json asks for."""
    offered = [Recipe(NAME, "f32", {"bits": 32}, {"pace": 16}, effort="quick", exact=True, bits=32)]
    offered += [Recipe(NAME, f"q{bits}", {"bits": bits}, effort="quick", bits=bits) for bits in (8, 4)]
    offered += [
        Recipe(NAME, "q2", {"bits": 2}, bits=2),
        Recipe(NAME, "q8+text", {"bits": 8}, calibrated=True, bits=8),
    ]
    config = json.loads((model.path / "config.json").read_text("utf-8"))
    offered += [
        Recipe(
            NAME,
            fault,
            {"bits": 8, "fault": fault},
            {"wall_clock_jumps": True} if fault == "jump" else {},
            effort="quick",
        )
        for fault in config.get("null_faults", ())
    ]
    return offered


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """Return one setting that speeds it up, one that takes memory, one that fails, and one that is fast but inexact."""
    return [
        TunableSetting("hurry", (0.5, 4), default=1),
        TunableSetting("ballast_mb", (64,), default=0),
        TunableSetting("stumble", (True,), default=False),
        TunableSetting("coarse", (True,), default=False, exact=False),
    ]


def original(model: ModelInfo) -> Recipe:
    """Return the original, at the pace of 32 bits."""
    return Recipe(NAME, "original", settings={"pace": 32, "ballast_mb": 96})


def reference(model: ModelInfo) -> Recipe:
    """Return the original as the reference for quality."""
    return Recipe(NAME, "reference")


def steps(recipe: Recipe) -> Step:
    """Return `convert` for the original, and `quantize` after it for the others."""
    convert = Step("edgehone.backends.null.backend:convert", reads=("model",))
    if "bits" not in recipe.build:
        return convert
    reads = ("calibration",) if recipe.calibrated else ()
    return Step("edgehone.backends.null.backend:quantize", dict(recipe.build), {"converted": convert}, reads)


def convert(job: WorkerJob) -> dict[str, Any]:
    """Store the table of model.safetensors as table.npy."""
    import numpy as np

    with (job.inputs["model"] / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin, end = header["table"]["data_offsets"]
        file.seek(begin, os.SEEK_CUR)
        table = np.frombuffer(file.read(end - begin), np.float32).reshape(VOCABULARY, VOCABULARY)
    _save(job.out, table, 32)
    return {"weight_types": {"f32": 1}, **quantized_weights.facts([("table", table.size, False)])}


def quantize(job: WorkerJob) -> dict[str, Any]:
    """Round the table to `bits` bits, row by row, and store it packed."""
    import numpy as np

    _fail(job.args.get("fault"))
    bits = int(job.args["bits"])
    if "calibration" in job.inputs:
        json.loads((job.inputs["calibration"] / "ids.json").read_text("utf-8"))
    job.progress(0.5, "rounding")
    table = np.load(job.inputs["converted"] / "table.npy")
    if job.args.get("fault") == "nan":
        table[:, 0] = np.nan
    _save(job.out, table, bits)
    share = quantized_weights.facts([("table", table.size, bits < 32)])
    return {"weight_types": {f"q{bits}" if bits < 32 else "f32": 1}, **share}


class NullTokenizer:
    """A tokenizer whose ids are the bytes of UTF-8."""

    bos = [BOS]  # noqa: RUF012
    eos: list[int] = []  # noqa: RUF012
    vocabulary = VOCABULARY

    def __init__(self, model: Path | None = None) -> None:
        self._model = model

    def tokenize(self, text: str) -> list[int]:
        """Return BOS and the bytes."""
        return [BOS, *text.encode()]

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """Return the bytes, and for each how many bytes of the text it covers: 1."""
        ids = list(text.encode())
        return ids, [1] * len(ids)

    def save(self, folder: Path) -> None:
        """Copy the model's configuration files. There is no tokenizer.json of bytes: sessions tokenize."""
        for name in ("tokenizer_config.json", "generation_config.json"):
            if self._model and (self._model / name).is_file():
                shutil.copyfile(self._model / name, folder / name)


def open_tokenizer(model: Path, job: WorkerJob) -> NullTokenizer:
    """Return the tokenizer, the same for every null model."""
    return NullTokenizer(model)


def start_runtime(kind: Literal["language", "graph"], job: WorkerJob) -> None:
    """No-op: there is no framework to load."""


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NullSession:
    """Open an artifact.

    settings: `pace` (bits), `hurry` (a factor), `coarse`, `stumble`, `ballast_mb`, `wall_clock_jumps`.
    """
    return NullSession(artifact, settings)


def open_engine(artifact: Path, settings: Mapping[str, Any], job: WorkerJob, places: int) -> NullEngine:
    """Open an artifact for several requests at the same time."""
    from edgehone.backends.null.engine import NullEngine

    session = NullSession(artifact, settings)
    return NullEngine(session.table, session.pace, places)


def open_graph(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NullGraphSession:
    """Open an artifact that `null.graph.make_graph` wrote."""
    from edgehone.backends.null.graph import NullGraphSession

    return NullGraphSession(artifact, settings)


def open_graph_many(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, clients: int
) -> NullGraphSession:
    """Open the same session: it may be called from several threads."""
    return open_graph(artifact, settings, job)


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """Return the times of one request's look-ups, as this process really took them."""
    session = NullSession(artifact, settings)
    started = time.perf_counter()
    first = session.generate(request["prompt"], 1)
    prefilled = time.perf_counter()
    session.generate(first.ids, request["generated"] - 1)
    return [
        OperatorTime("prefill", "lookup", 1, prefilled - started),
        OperatorTime("decode", "lookup", request["generated"] - 1, time.perf_counter() - prefilled),
    ]


class NullSession:
    """A bigram model over bytes."""

    def __init__(self, artifact: Path, settings: Mapping[str, Any]) -> None:
        self.clock = VirtualClock()
        self.artifact, self.coarse = artifact, bool(settings.get("coarse"))
        self.bits: int = json.loads((artifact / "null.json").read_text("utf-8"))["bits"]
        self.pace = _PACE[settings.get("pace", self.bits)] / 1000 / settings.get("hurry", 1)
        if self.coarse:
            self.pace /= 10
        if settings.get("stumble"):
            raise InputError("the null backend was asked to stumble")
        if settings.get("wall_clock_jumps"):
            _set_wall_clock(3600)
        self.ballast = b"\1" * (int(settings.get("ballast_mb", 0)) << 20)
        self.clock.sleep(_OPENING)

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """The logits after each id, [257, 257]."""
        table = _load(self.artifact, self.bits)
        return table.round(-1) if self.coarse else table

    @cached_property
    def likeliest(self) -> Sequence[int]:
        """The likeliest id after each id, read from the artifact so that generating does not import numpy."""
        if self.coarse:
            return [int(i) for i in self.table.argmax(1)]
        return array("H", (self.artifact / _LIKELIEST).read_bytes())

    def tokenize(self, text: str) -> list[int]:
        """Return BOS and the UTF-8 bytes."""
        return NullTokenizer().tokenize(text)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the bytes as text."""
        return bytes(i for i in ids if i < BOS).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """Return the byte that an id stands for."""
        return bytes([token]) if token < BOS else b""

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Return the table's rows of the ids."""
        check_ids(ids, VOCABULARY)
        yield self.table[list(ids)]

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate greedily, at the simulated pace."""
        check_ids(ids, VOCABULARY)
        started = self.clock.now()
        self.clock.sleep(self.pace * len(ids) / 10)
        last, new, times = ids[-1], list[int](), list[float]()
        for _ in range(count):
            self.clock.sleep(self.pace)
            last = self.likeliest[last]
            new.append(last)
            times.append(self.clock.now())
            if on_token is not None and on_token(last):
                break
        return Generation(started, new, times)

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Draw from the table's rows, at the simulated pace."""
        import numpy as np

        check_ids(ids, VOCABULARY)
        random, seen = np.random.default_rng(sampling.seed), set(ids)
        started, last, new, times = self.clock.now(), ids[-1], list[int](), list[float]()
        self.clock.sleep(self.pace * len(ids) / 10)
        for _ in range(count):
            self.clock.sleep(self.pace)
            last = draw(self.table[last].astype(np.float64), seen, sampling, random)
            seen.add(last)
            new.append(last)
            times.append(self.clock.now())
            if on_token is not None and on_token(last):
                break
        return Generation(started, new, times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Generate for several prompts: a token of all of them takes as long as one token of one."""
        for ids in prompts:
            check_ids(ids, VOCABULARY)
        started = self.clock.now()
        texts: list[list[int]] = [[ids[-1]] for ids in prompts]
        times = list[float]()
        self.clock.sleep(self.pace * sum(map(len, prompts)) / 10)
        for _ in range(count):
            self.clock.sleep(self.pace)
            for text in texts:
                text.append(self.likeliest[text[-1]])
            times.append(self.clock.now())
        return [Generation(started, text[1:], times) for text in texts]

    def close(self) -> None:
        """No-op: there is nothing to release."""


def make_model(folder: Path, text: str, faults: Sequence[str] = ()) -> Path:
    """Write a null model whose table holds the log-probabilities of a text's bigrams, each count raised by 0.01."""
    import numpy as np

    ids = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    counts = np.full((VOCABULARY, VOCABULARY), 0.01, np.float64)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    counts[:, BOS] = 1e-6
    table = np.log(counts / counts.sum(1, keepdims=True)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "null",
        "architectures": ["NullForCausalLM"],
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "num_hidden_layers": 1,
        "null_faults": list(faults),
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    header = json.dumps(
        {"table": {"dtype": "F32", "shape": list(table.shape), "data_offsets": [0, table.nbytes]}}
    ).encode()
    raw = len(header).to_bytes(8, "little") + header + table.tobytes()
    (folder / "model.safetensors").write_bytes(raw)
    return folder


def _save(folder: Path, table: NDArray[np.float32], bits: int) -> None:
    import numpy as np

    (folder / "null.json").write_text(json.dumps({"bits": bits}), "utf-8")
    if bits == 32:
        np.save(folder / "table.npy", table)
    else:
        _save_packed(folder / "table.npz", table, bits)
    (folder / _LIKELIEST).write_bytes(_load(folder, bits).argmax(1).astype(np.uint16).tobytes())


def _save_packed(path: Path, table: NDArray[np.float32], bits: int) -> None:
    import numpy as np

    low = table.min(1, keepdims=True)
    step = (table.max(1, keepdims=True) - low) / (2**bits - 1)
    levels = np.nan_to_num(np.round((table - low) / step)).astype(np.uint8)
    unpacked = np.unpackbits(levels[..., None], axis=-1)[..., 8 - bits :]
    np.savez(path, low=low, step=step, packed=np.packbits(unpacked))


def _load(folder: Path, bits: int) -> NDArray[np.float32]:
    import numpy as np

    if bits == 32:
        return np.asarray(np.load(folder / "table.npy"), np.float32)
    stored = np.load(folder / "table.npz")
    count = VOCABULARY * VOCABULARY
    digits = np.unpackbits(stored["packed"])[: count * bits].reshape(count, bits)
    padded = np.concatenate([np.zeros((count, 8 - bits), np.uint8), digits], 1)
    levels = np.packbits(padded, axis=1).reshape(VOCABULARY, VOCABULARY)
    return np.asarray(stored["low"] + stored["step"] * levels, np.float32)


def _set_wall_clock(seconds: float) -> None:
    """Make this process read a wall clock that is set forward."""
    read = time.clock_gettime
    time.clock_gettime = lambda clock: read(clock) + seconds * (clock == time.CLOCK_REALTIME)


def _fail(fault: str | None) -> None:
    if fault == "crash":
        print("loading\nerror: the null backend was asked to crash", flush=True)  # noqa: T201
        os.abort()
    if fault == "hang":
        time.sleep(3600)
    if fault == "memory":
        hoard = [bytearray(b"x" * (64 << 20)) for _ in range(64)]
        time.sleep(3600)
        hoard.clear()
