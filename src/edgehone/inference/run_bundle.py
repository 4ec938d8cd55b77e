"""Run a bundle: open its artifact in its backend's environment, and generate, or compute outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.device.detect import detect
from edgehone.execution.environments import environment
from edgehone.execution.foreground import run_foreground
from edgehone.execution.job import Input, Job
from edgehone.execution.threads import (
    threads_of,
)


def generate(
    bundle: Bundle,
    prompt: str,
    max_tokens: int,
    *,
    picture: Path | None = None,
    quiet: bool = False,
    tell: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Generate greedily, about a `picture` where one is given; the text goes to standard output unless `quiet`.

    Returns text, tokens, ttft_s, decode_tokens_per_s. Raises InputError for an empty prompt, a count under 1, or a
    picture that is not there or for a model that sees none; JobError if the backend fails.
    """
    if not prompt:
        raise InputError(
            "the prompt is empty", hint=f'edgehone run {bundle.path} --prompt "Once upon a time"'
        )
    if max_tokens < 1:
        raise InputError(f"--max-tokens is {max_tokens}", hint="give 1 or more")
    if bundle.manifest.kind != "language":
        raise InputError(
            f"{bundle.path} generates no text",
            hint=f"edgehone run {bundle.path} --input FILE.npz --output OUT.npz",
        )
    args = {"prompt": prompt, "max_tokens": max_tokens, "eos": bundle.manifest.eos}
    given = {}
    if picture is not None:
        args["template"] = bundle.manifest.pictures
        if args["template"] is None:
            raise InputError(f"{bundle.path} sees no pictures", hint="leave --image out")
        if not picture.is_file():
            raise InputError(f"no such picture: {picture}", hint="give a PNG or JPEG file")
        given["picture"] = Input(picture.resolve(), "")
    return run_foreground(_job(bundle, "edgehone.worker.generate:generate", args, given, tell), quiet=quiet)


def infer(
    bundle: Bundle, given: Path, output: Path, *, tell: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """Run a graph on all samples of an npz file, and write its outputs to another.

    Returns samples, outputs (name → shape), seconds. Raises InputError for a bundle that generates text, for
    arrays that don't fit, or an output that can't be written; JobError if the backend fails.
    """
    if bundle.manifest.kind != "graph":
        raise InputError(
            f"{bundle.path} generates text", hint=f'edgehone run {bundle.path} --prompt "Once upon a time"'
        )
    if not given.is_file():
        raise InputError(f"no such file: {given}", hint="give FILE.npz with an array for each input")
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output.absolute().parent} is no folder", hint="give another --output")
    args = {
        "inputs": bundle.manifest.inputs,
        "batch": bundle.manifest.batch,
        "output": str(output.absolute()),
    }
    job = _job(bundle, "edgehone.worker.infer:infer", args, {"samples": Input(given.resolve(), "")}, tell)
    return run_foreground(job, quiet=True)


def _job(
    bundle: Bundle, call: str, args: dict[str, Any], inputs: dict[str, Input], tell: Callable[[str], None]
) -> Job:
    """A job that opens the bundle's artifact; tells where the environment is not the one that it was proven in."""
    recipe = bundle.manifest.recipe
    name = recipe["backend"]
    env = environment.ensure(name, registry.load(name).NEEDS, tell)
    if drifted := bundle.drifted(env.versions):
        tell(f"note: packages here are not those that the bundle was proven with: {', '.join(drifted)}")
    if target := bundle.manifest.target:
        tell(
            f"note: the bundle was honed for {target['name']}; its speed here is not the one that was predicted"
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
