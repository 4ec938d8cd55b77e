"""Run a bundle: open its artifact in its backend's environment and generate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgehone import device
from edgehone.backends import registry
from edgehone.bundle.read import Bundle
from edgehone.errors import InputError
from edgehone.jobs import environments
from edgehone.jobs.foreground import run_foreground
from edgehone.jobs.run import Input, Job


def generate(
    bundle: Bundle,
    prompt: str,
    max_tokens: int,
    *,
    quiet: bool = False,
    tell: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Generate greedily; the text goes to standard output as it comes unless `quiet`.

    Returns text, tokens, ttft_s, decode_tokens_per_s. Raises InputError for an empty prompt or a count under 1,
    JobError if the backend fails.
    """
    if not prompt:
        raise InputError(
            "the prompt is empty", hint=f'edgehone run {bundle.path} --prompt "Once upon a time"'
        )
    if max_tokens < 1:
        raise InputError(f"--max-tokens is {max_tokens}", hint="give 1 or more")
    recipe = bundle.manifest["recipe"]
    name = recipe["backend"]
    env = environments.ensure(name, registry.load(name).NEEDS, tell)
    made_with = bundle.manifest["versions"].get(name, {})
    for package, found in env.versions.items():
        if made_with.get(package, found) != found:
            tell(f"note: the bundle was proven with {package} {made_with[package]}, this is {found}")
    module = registry.module_name(name)
    job = Job(
        "edgehone.stages.generate:generate",
        env,
        {
            "backend": module,
            "settings": recipe["settings"],
            "prompt": prompt,
            "max_tokens": max_tokens,
            "eos": bundle.manifest["eos"],
        },
        {"artifact": Input(bundle.artifact.resolve(), "")},
        threads=device.detect().threads,
        backend=module,
    )
    return run_foreground(job, quiet=quiet)
