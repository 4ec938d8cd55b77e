"""Texts that a bundle's encoder-decoder generates: the transcript of a sound, or the answer to a text."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgehone.bundle.read import Bundle
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.execution.foreground import run_foreground
from edgehone.execution.job import Input
from edgehone.inference.media_samples import write_arrays
from edgehone.inference.run_bundle import check_text, job_of, tokenizer_input
from edgehone.inputs.sample_files import SOUNDS

_SPEECH = "input_features"


def generates(bundle: Bundle) -> bool:
    """Return whether a bundle's graph is an encoder-decoder."""
    return bundle.manifest.decoding is not None


def transcribe(
    bundle: Bundle,
    sound: Path,
    max_tokens: int,
    *,
    quiet: bool = False,
    on_progress: Callable[[str], None] = lambda detail: None,
) -> dict[str, Any]:
    """Write what is said in a WAV file to standard output as it is recognized, unless `quiet`.

    Returns the facts of `worker.decode.answer`. Raises InputError for a bundle that does not recognize speech and for
    a file that cannot be read as a sound, JobError if the backend fails.
    """
    if not _hears(bundle):
        raise InputError(
            f"{bundle.path} does not recognize speech: it takes no --audio",
            hint=f"edgehone run {bundle.path} --help",
        )
    if not sound.is_file() or sound.suffix.lower() not in SOUNDS:
        problem = "not a WAV file" if sound.exists() else why_absent(sound, "no such file")
        raise InputError(f"--audio {sound}: {problem}", hint=f"give a file ending in {', '.join(SOUNDS)}")
    with tempfile.TemporaryDirectory(prefix="edgehone-") as folder:
        arrays = Path(folder) / "samples.npz"
        write_arrays(bundle, sound, arrays, on_progress)
        return _answer(bundle, {"samples": Input(arrays, "")}, {}, max_tokens, quiet, on_progress)


def answer(
    bundle: Bundle,
    prompt: str,
    max_tokens: int,
    *,
    quiet: bool = False,
    on_progress: Callable[[str], None] = lambda detail: None,
) -> dict[str, Any]:
    """Write the text that a text-to-text model gives for another one to standard output, unless `quiet`.

    Returns the facts of `worker.decode.answer`. Raises InputError for a bundle that takes sounds and for an empty
    prompt, JobError if the backend fails.
    """
    if _hears(bundle):
        raise InputError(
            f"{bundle.path} recognizes speech: it takes no --prompt",
            hint=f"edgehone run {bundle.path} --audio FILE.wav",
        )
    if not prompt.strip():
        raise InputError(
            "the prompt is empty", hint=f'edgehone run {bundle.path} --prompt "Once upon a time"'
        )
    check_text(prompt, "the prompt")
    return _answer(bundle, {}, {"prompt": prompt}, max_tokens, quiet, on_progress)


def _hears(bundle: Bundle) -> bool:
    return generates(bundle) and any(one["name"] == _SPEECH for one in bundle.manifest.inputs)


def _answer(
    bundle: Bundle,
    inputs: dict[str, Input],
    args: dict[str, Any],
    max_tokens: int,
    quiet: bool,
    on_progress: Callable[[str], None],
) -> dict[str, Any]:
    if max_tokens < 1:
        raise InputError(f"--max-tokens is {max_tokens}", hint="give 1 or more")
    decoding = dict(bundle.manifest.decoding or {})
    job = job_of(
        bundle,
        "edgehone.worker.decode:answer",
        {"decoding": decoding, "limit": max_tokens, **args},
        {**tokenizer_input(bundle), **inputs},
        on_progress,
    )
    return run_foreground(job, refused=f"edgehone run {bundle.path} --help", quiet=quiet)
