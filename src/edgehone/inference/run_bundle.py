"""Run a bundle: open its artifact in its backend's environment, then generate text or compute outputs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.bundle.read import Bundle
from edgehone.bundle.verify import check_runnable
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.device.detect import detect
from edgehone.execution.environments import environment
from edgehone.execution.foreground import run_foreground
from edgehone.execution.home import home_path
from edgehone.execution.job import Input, Job
from edgehone.execution.threads import (
    threads_of,
)
from edgehone.inference.sampling import SamplingOptions, settings
from edgehone.model.info import Tensor
from edgehone.worker.chat_template import read_template

GREEDY_OR_STATED = SamplingOptions()


def generate(
    bundle: Bundle,
    prompt: str,
    max_tokens: int,
    *,
    picture: Path | None = None,
    raw: bool = False,
    sampling: SamplingOptions = GREEDY_OR_STATED,
    quiet: bool = False,
    on_progress: Callable[[str], None] = lambda detail: None,
) -> dict[str, Any]:
    """Answer a prompt and write the text to standard output as it is generated, unless `quiet`.

    The prompt is put into the model's chat template, and tokens are drawn as generation_config.json says. With `raw`,
    or if the model has no template, the plain text is continued, greedily unless `sampling` says otherwise. `picture`
    is part of the prompt and answered greedily.

    Returns the facts of `worker.generate.generate`, and sampling (the settings, None if greedy). Raises InputError for
    a prompt that is empty, not Unicode or beyond the model's context, `max_tokens` below 1, a missing picture, or a
    picture for a model that takes none; JobError if the backend fails.
    """
    if not prompt:
        raise InputError(
            "the prompt is empty", hint=f'edgehone run {bundle.path} --prompt "Once upon a time"'
        )
    check_text(prompt, "the prompt")
    check_language(bundle, max_tokens)
    drawn = None
    if picture is None:
        drawn = settings(sampling, bundle.tokenizer, raw=raw or not has_template(bundle))
    args: dict[str, Any] = {
        "prompt": prompt,
        "max_tokens": max_tokens,
        "eos": bundle.manifest.eos,
        "raw": raw,
        "sampling": drawn,
        "context": context_of(bundle),
    }
    inputs = tokenizer_input(bundle)
    if picture is not None:
        args["template"] = bundle.manifest.pictures
        if args["template"] is None:
            raise InputError(f"{bundle.path} is not a vision-language model", hint="leave --image out")
        if not picture.is_file():
            raise InputError(
                why_absent(picture, f"no such picture: {picture}"), hint="give a PNG or JPEG file"
            )
        inputs["picture"] = Input(picture.resolve(), "")
    job = job_of(bundle, "edgehone.worker.generate:generate", args, inputs, on_progress)
    refused = f'edgehone run {bundle.path} --prompt "Once upon a time"'
    return {**run_foreground(job, refused=refused, quiet=quiet), "sampling": drawn}


def infer(
    bundle: Bundle, path: Path, output: Path, *, on_progress: Callable[[str], None] = lambda detail: None
) -> dict[str, Any]:
    """Compute the outputs of a graph for all samples, and write them to an npz file.

    `path` is an npz file or, for a bundle that was evaluated on images or sounds, such a file or a folder of them.
    Returns samples (their number), outputs (name → shape), seconds, and the names of such files in the order of the
    samples (`files`). Raises InputError for a bundle that generates text, for samples that do not fit the graph, or an
    output that cannot be written; JobError if the backend fails.
    """
    # A server, which starts sooner without them, imports this module for other functions.
    from edgehone.inference.media_samples import are_media, write_arrays

    if bundle.manifest.kind != "graph":
        raise InputError(
            f"{bundle.path} generates text", hint=f'edgehone run {bundle.path} --prompt "Once upon a time"'
        )
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output.absolute().parent} is not a folder", hint="give another --output")
    if not are_media(path):
        return _infer(bundle, path, output, on_progress)
    if bundle.manifest.decoding is not None:
        raise InputError(
            f"{bundle.path} generates a text from a sound, one at a time",
            hint=f"edgehone run {bundle.path} --audio FILE.wav",
        )
    with tempfile.TemporaryDirectory(prefix="edgehone-") as folder:
        arrays = Path(folder) / "samples.npz"
        files = write_arrays(bundle, path, arrays, on_progress)
        return {**_infer(bundle, arrays, output, on_progress), "files": files}


def _infer(bundle: Bundle, path: Path, output: Path, on_progress: Callable[[str], None]) -> dict[str, Any]:
    from edgehone.inputs import sample_arrays, samples
    from edgehone.inputs.axes import Axes

    if not path.is_file():
        raise InputError(
            why_absent(path, f"no such file: {path}"), hint="give FILE.npz with an array for each input"
        )
    tensors = [samples.tensor(one) for one in bundle.manifest.inputs]
    arrays = samples.read_arrays(path)
    arrays.pop(sample_arrays.LABELS, None)
    sample_arrays.check_arrays(arrays, tensors, str(path), Axes.from_json(bundle.manifest.axes), least=1)
    args = {
        "inputs": bundle.manifest.inputs,
        "axes": bundle.manifest.axes,
        "batch": bundle.manifest.batch,
        "output": str(output.absolute()),
    }
    inputs = {"samples": Input(path.resolve(), "")}
    job = job_of(bundle, "edgehone.worker.infer:infer", args, inputs, on_progress)
    refused = (
        f"compare types, sizes and values with those of its evaluation; the inputs are {_described(tensors)}"
    )
    return run_foreground(job, refused=refused, quiet=True)


def _described(tensors: Sequence[Tensor]) -> str:
    """Return the inputs of a graph in words: name, type and shape."""
    return ", ".join(
        f"{one.name} {one.dtype}"
        + (f" [{', '.join(str(size or '?') for size in one.shape)}]" if one.ranked else "")
        for one in tensors
    )


def check_language(bundle: Bundle, max_tokens: int) -> None:
    """Raise InputError for a bundle that generates no text, and for `max_tokens` below 1."""
    if max_tokens < 1:
        raise InputError(f"--max-tokens is {max_tokens}", hint="give 1 or more")
    if bundle.manifest.kind != "language":
        raise InputError(
            f"{bundle.path} is a graph: it generates no text",
            hint=f"edgehone run {bundle.path} --input FILE.npz --output OUT.npz",
        )


def check_text(text: str, what: str) -> None:
    """Raise InputError if a text from the command line or standard input was not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) & 0xFF  # Python keeps such a byte as a surrogate
        raise InputError(
            f"{what} is not UTF-8: byte 0x{byte:02x} after {text[: error.start][-20:]!r}",
            hint="convert it: iconv -t UTF-8",
        ) from error


def has_template(bundle: Bundle) -> bool:
    """Return whether the bundle has the chat template of the original."""
    return bundle.tokenizer is not None and read_template(bundle.tokenizer) is not None


def context_of(bundle: Bundle) -> int | None:
    """Return the number of tokens that the original's context holds; None if it does not state it."""
    context = bundle.decision.model.get("context")
    return context if isinstance(context, int) else None


def tokenizer_input(bundle: Bundle) -> dict[str, Input]:
    """Return the folder of the original's tokenizer as a job's input; {} for bundles without it."""
    return {"tokenizer": Input(bundle.tokenizer.resolve(), "")} if bundle.tokenizer else {}


def job_of(
    bundle: Bundle,
    call: str,
    args: dict[str, Any],
    inputs: dict[str, Input],
    on_progress: Callable[[str], None],
) -> Job:
    """Return a job that opens the bundle's artifact. Reports package versions that differ from the bundle's.

    Raises InputError if the artifact, the tokenizer or the manifest is not as it was written.
    """
    check_runnable(bundle, home_path() / "digests")
    recipe = bundle.manifest.recipe
    name = recipe["backend"]
    env = environment.ensure(name, registry.load(name).NEEDS.to_run(bundle.manifest.kind), on_progress)
    if drifted := bundle.drifted(env.versions):
        on_progress(
            f"note: installed packages differ from those the bundle was proven with: {', '.join(drifted)}"
        )
    if not bundle.manifest.approved:
        on_progress(
            "note: this bundle is not approved: its artifact does not pass every gate (see its report)"
        )
    if target := bundle.manifest.target:
        on_progress(
            f"note: the bundle was optimized for {target['name']}; its speed here differs from the predicted one"
        )
    module = registry.module_name(name)
    return Job(
        call,
        env,
        {"backend": module, "settings": recipe["settings"], **args},
        {"artifact": Input(bundle.artifact.resolve(), ""), **inputs},
        threads=threads_of(recipe["settings"], detect()),
        backend=module,
    )
