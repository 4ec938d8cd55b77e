"""Turn images or sounds into the arrays of a bundle's graph, as its evaluation did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgehone.backends import registry
from edgehone.bundle.read import Bundle
from edgehone.core.absence import why_absent
from edgehone.core.errors import InputError
from edgehone.execution.environments import environment
from edgehone.execution.foreground import run_foreground
from edgehone.execution.job import Input, Job
from edgehone.inputs.sample_files import IMAGES, SOUNDS

# The environment with Pillow, which not every backend's has.
ENVIRONMENT = "onnxruntime"


def are_media(path: Path) -> bool:
    """Return True for a folder and for a file with the ending of an image or a sound."""
    return path.is_dir() or path.suffix.lower() in (*IMAGES, *SOUNDS)


def write_arrays(bundle: Bundle, path: Path, output: Path, on_progress: Callable[[str], None]) -> list[str]:
    """Write the files at `path`, one or a folder, to an npz file; return their names in the order of the samples.

    Raises InputError for a bundle that was evaluated on arrays, so that nothing is known of how files become arrays,
    and for files that are not of the kind that it was evaluated on.
    """
    if bundle.manifest.preprocessing is None:
        raise InputError(
            f"{bundle.path} was not evaluated on images or sounds, so how they become arrays is not known",
            hint="give FILE.npz, or make the bundle again with a folder of images or WAV files as --eval",
        )
    if not path.exists():
        raise InputError(
            why_absent(path, f"no such file: {path}"), hint="give an image or a sound, or a folder of them"
        )
    backend = registry.load(ENVIRONMENT)
    env = environment.ensure(ENVIRONMENT, backend.NEEDS.to_run("graph"), on_progress)
    args = {
        "inputs": bundle.manifest.inputs,
        "preprocessing": dict(bundle.manifest.preprocessing),
        "output": str(output.absolute()),
    }
    job = Job(
        "edgehone.worker.media_arrays:convert",
        env,
        {"backend": registry.module_name(ENVIRONMENT), **args},
        {"files": Input(path.resolve(), "")},
        threads=1,
        backend=registry.module_name(ENVIRONMENT),
    )
    refused = "give pictures or sounds that other programs open, of the kind that the bundle was evaluated on"
    names: list[str] = run_foreground(job, refused=refused, quiet=True)["files"]
    return names
