"""How llama-server is told to run a bundle's artifact as it was measured, wherever a package has it run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.adapter import ADAPTER
from edgehone.backends.llamacpp.engine import draft_options, runtime_options
from edgehone.backends.llamacpp.speculation import DRAFT
from edgehone.backends.llamacpp.tools import PROJECTOR
from edgehone.bundle.read import Bundle
from edgehone.inference.run_bundle import context_of
from edgehone.package.settings import SPECULATION

# A server allots the whole context when it loads the model; longer ones are the user's choice.
_CONTEXT = 8192


def server_options(bundle: Bundle, folder: Path = Path(), *, drafts: bool = True) -> list[str]:
    """Return the options of llama-server for the settings of the bundle's recipe; threads only where they are set.

    `folder` is where the files beside the model are: by default the folder that the server runs in. Without `drafts`
    none that draft tokens, which older builds of it do not know.
    """
    settings: dict[str, Any] = dict(bundle.manifest.recipe["settings"])
    for name in () if drafts else SPECULATION:
        settings.pop(name, None)
    words = [*runtime_options(settings), *draft_options(settings, folder / DRAFT)]
    if "threads" in settings:
        words += ["--threads-batch", str(settings["threads"])]
    if threads := settings.get("decode_threads", settings.get("threads")):
        words += ["--threads", str(threads)]
    if has_pictures(bundle):
        words += ["--mmproj", str(folder / PROJECTOR)]
    if has_adapter(bundle):
        words += ["--lora", str(folder / ADAPTER)]
    return [*words, "--ctx-size", str(context(bundle))]


def has_pictures(bundle: Bundle) -> bool:
    """Return True for a vision-language model, whose second file turns pictures into tokens."""
    return (bundle.artifact / PROJECTOR).is_file()


def has_adapter(bundle: Bundle) -> bool:
    """Return True for a base model with a LoRA adapter in a file of its own."""
    return (bundle.artifact / ADAPTER).is_file()


def context(bundle: Bundle) -> int:
    """Return the tokens of the context: the original's, and at most 8192."""
    return min(context_of(bundle) or _CONTEXT, _CONTEXT)
