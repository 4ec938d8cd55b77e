"""null: a fake backend that ships, so that all the machinery around backends is tested in milliseconds.

Its model is real all the same: a bigram table over bytes (`make_model` counts one from a text), which the
recipes really quantize to 8, 4 or 2 bits. Only its speed is made up: a session sleeps so many milliseconds a
token. A model's config.json may ask for faulty recipes (`"null_faults": ["crash", "hang", "memory", "nan", "jump"]`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import (
    Needs,
    Recipe,
    Step,
    Support,
    TunableSetting,
)
from edgehone.backends.sessions import (
    Generation,
    OperatorTime,
    WorkerJob,
)
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import InputError
from edgehone.device.facts import Device
from edgehone.model.info import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgehone.backends.sessions import (
        Logits,
    )

NAME = "null"
REFERENCE = True
NEEDS = Needs()

BOS = 256
VOCABULARY = 257
FAULTS = ("crash", "hang", "memory", "nan", "jump")
# Milliseconds a token that a session pretends to need, by bits; 32 is the original.
_PACE = {32: 4.0, 16: 2.0, 8: 1.0, 4: 0.5, 2: 0.4}


def supports(model: ModelInfo) -> Support:
    """Null models only."""
    if model.model_type == "null" and model.format == "huggingface":
        return Support(True)
    return Support(False, (f"null takes its own fake models only, not '{model.model_type}'",))


def recipes(model: ModelInfo) -> list[Recipe]:
    """f32 (exact), q8, q4, q2, and the faulty ones that config.json asks for."""
    made = [Recipe(NAME, "f32", {"bits": 32}, {"pace": 16}, effort="quick", exact=True, bits=32)]
    made += [Recipe(NAME, f"q{bits}", {"bits": bits}, effort="quick", bits=bits) for bits in (8, 4)]
    made += [
        Recipe(NAME, "q2", {"bits": 2}, bits=2),
        Recipe(NAME, "q8+text", {"bits": 8}, calibrated=True, bits=8),
    ]
    config = json.loads((model.path / "config.json").read_text("utf-8"))
    made += [
        Recipe(
            NAME,
            fault,
            {"bits": 8, "fault": fault},
            {"wall_clock_jumps": True} if fault == "jump" else {},
            effort="quick",
        )
        for fault in config.get("null_faults", ())
    ]
    return made


def tunable_settings(recipe: Recipe, device: Device, context: int) -> list[TunableSetting]:
    """One that gains, one that costs, one that fails, and one that gains by making the outputs coarse."""
    return [
        TunableSetting("hurry", (0.5, 4), default=1),
        TunableSetting("ballast_mb", (64,), default=0),
        TunableSetting("stumble", (True,), default=False),
        TunableSetting("coarse", (True,), default=False, exact=False),
    ]


def original(model: ModelInfo) -> Recipe:
    """The original itself, at its own pace."""
    return Recipe(NAME, "original", settings={"pace": 32, "ballast_mb": 96})


def reference(model: ModelInfo) -> Recipe:
    """The original, as the reference for quality."""
    return Recipe(NAME, "reference")


def steps(recipe: Recipe) -> Step:
    """One step for the original, convert and quantize for the others."""
    convert = Step("edgehone.backends.null.backend:convert", reads=("model",))
    if "bits" not in recipe.build:
        return convert
    reads = ("calibration",) if recipe.calibrated else ()
    return Step("edgehone.backends.null.backend:quantize", dict(recipe.build), {"converted": convert}, reads)


def convert(job: WorkerJob) -> dict[str, Any]:
    """The table of model.safetensors as table.npy."""
    import numpy as np

    with (job.inputs["model"] / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin, end = header["table"]["data_offsets"]
        file.seek(begin, os.SEEK_CUR)
        table = np.frombuffer(file.read(end - begin), np.float32).reshape(VOCABULARY, VOCABULARY)
    _save(job.out, table, 32)
    return {"weight_types": {"f32": 1}}


def quantize(job: WorkerJob) -> dict[str, Any]:
    """Round the table to so many bits, row by row; packed, so that fewer bits are fewer bytes."""
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
    return {"weight_types": {f"q{bits}" if bits < 32 else "f32": 1}}


class NullTokenizer:
    """UTF-8 bytes are ids."""

    bos = [BOS]  # noqa: RUF012
    eos: list[int] = []  # noqa: RUF012
    vocabulary = VOCABULARY

    def tokenize(self, text: str) -> list[int]:
        """BOS, then the bytes."""
        return [BOS, *text.encode()]

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """The bytes, each of which covers one."""
        ids = list(text.encode())
        return ids, [1] * len(ids)


def open_tokenizer(model: Path, job: WorkerJob) -> NullTokenizer:
    """The same for every null model."""
    return NullTokenizer()


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> NullSession:
    """Load a table, hold some memory if told so."""
    return NullSession(artifact, settings)


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """The look-ups of one request, and the sleeping."""
    session = NullSession(artifact, settings)
    made = session.generate(request["prompt"], request["generated"])
    first = made.times[0] - made.started
    rest = made.times[-1] - made.times[0]
    return [
        OperatorTime("prefill", "sleep", 1, first),
        OperatorTime("decode", "sleep", len(made.ids) - 1, rest),
    ]


class NullSession:
    """A bigram model over bytes."""

    def __init__(self, artifact: Path, settings: Mapping[str, Any]) -> None:
        import numpy as np

        facts = json.loads((artifact / "null.json").read_text("utf-8"))
        self.table: NDArray[np.float32] = _load(artifact, facts["bits"])
        self.pace = _PACE[settings.get("pace", facts["bits"])] / 1000 / settings.get("hurry", 1)
        if settings.get("coarse"):
            self.table, self.pace = self.table.round(-1), self.pace / 10
        if settings.get("stumble"):
            raise InputError("the null backend was asked to stumble")
        if settings.get("wall_clock_jumps"):
            _set_wall_clock(3600)
        self.ballast = np.ones(int(settings.get("ballast_mb", 0)) << 20, np.uint8)

    def tokenize(self, text: str) -> list[int]:
        """BOS, then the UTF-8 bytes."""
        return NullTokenizer().tokenize(text)

    def detokenize(self, ids: Sequence[int]) -> str:
        """The bytes as text."""
        return bytes(i for i in ids if i < BOS).decode("utf-8", "replace")

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """The rows of the table."""
        check_ids(ids, VOCABULARY)
        yield self.table[list(ids)]

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Greedy, at the made-up pace: a tenth of it for each prompt token."""
        check_ids(ids, VOCABULARY)
        started = time.perf_counter()
        time.sleep(self.pace * len(ids) / 10)
        last, made, times = ids[-1], list[int](), list[float]()
        for _ in range(count):
            time.sleep(self.pace)
            last = int(self.table[last].argmax())
            made.append(last)
            times.append(time.perf_counter())
            if on_token is not None and on_token(last):
                break
        return Generation(started, made, times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """The same for many: prompts one after another, then a step of all takes no longer than that of one."""
        for ids in prompts:
            check_ids(ids, VOCABULARY)
        started = time.perf_counter()
        made: list[list[int]] = [[ids[-1]] for ids in prompts]
        times = list[float]()
        time.sleep(self.pace * sum(map(len, prompts)) / 10)
        for _ in range(count):
            time.sleep(self.pace)
            for own in made:
                own.append(int(self.table[own[-1]].argmax()))
            times.append(time.perf_counter())
        return [Generation(started, own[1:], times) for own in made]

    def close(self) -> None:
        """Nothing to give back."""


def make_model(folder: Path, text: str, faults: Sequence[str] = ()) -> Path:
    """Write a null model whose table is counted from a text (log-probabilities, add-one smoothing)."""
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
        return
    low = table.min(1, keepdims=True)
    step = (table.max(1, keepdims=True) - low) / (2**bits - 1)
    levels = np.nan_to_num(np.round((table - low) / step)).astype(np.uint8)
    unpacked = np.unpackbits(levels[..., None], axis=-1)[..., 8 - bits :]
    np.savez(folder / "table.npz", low=low, step=step, packed=np.packbits(unpacked))


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
    """Let this process read a wall clock that somebody set."""
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
