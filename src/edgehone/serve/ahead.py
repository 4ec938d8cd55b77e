"""What is begun before bundles are read: processes of engines, which import their framework and wait; and hashing.

Of a bundle that is not verified nothing is believed but which of the installed backends made it and whether it has a
chat template, and nothing of it is opened by such a process before it gets its job, which it does once the bundle is
verified. Processes are begun where a variable names the interpreter of the backend, as in an image: an environment that
edgehone manages is checked, and perhaps installed, first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgehone.bundle.schema import CERTIFICATION, LARGEST, MANIFEST
from edgehone.core.errors import EdgehoneError
from edgehone.core.files import read_limited
from edgehone.execution.home import home_path
from edgehone.execution.service import Expected
from edgehone.model.digest import is_remembered

LANGUAGE, TEXT = "edgehone.worker.engine:serve", "edgehone.worker.text_service:serve"
GRAPH = "edgehone.worker.graph_service:serve"


def expected(bundles: Iterable[Path]) -> Iterator[Expected]:
    """Yield the processes that these bundles will need. What is wrong with one is told when it is read."""
    for bundle in bundles:
        try:
            manifest = json.loads(read_limited(bundle / MANIFEST, LARGEST))
            recipe = manifest["recipe"]
            chats = manifest["kind"] != "graph" and _has_template(bundle / "tokenizer")
            yield from _of(str(recipe["backend"]), manifest["kind"], recipe["settings"], chats)
        except (EdgehoneError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue


def unknown_files(bundles: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of artifacts that are read to verify these bundles: those of no known digest, or all.

    All files of a certified bundle are, whenever it is served. What cannot be read is told when the bundle is.
    """
    cache = home_path() / "digests"
    for bundle in bundles:
        with suppress(OSError):
            is_certified = any((bundle / name).exists() for name in CERTIFICATION)
            for path in (bundle / "artifact").rglob("*"):
                if path.is_file() and (is_certified or not is_remembered(path, cache)):
                    yield path


def _of(name: str, kind: Any, settings: Any, chats: bool) -> Iterator[Expected]:
    from edgehone.backends import registry
    from edgehone.device.detect import detect
    from edgehone.execution.environments import overrides
    from edgehone.execution.threads import threads_of

    needs = registry.load(name).NEEDS
    python, modules = overrides.python(needs.environment or name), needs.engine.get(kind)
    if python is None or modules is None:
        return
    backend, threads = registry.module_name(name), threads_of(settings, detect())
    call = GRAPH if kind == "graph" else LANGUAGE
    yield Expected(python, call, backend, threads, [call.partition(":")[0], backend, *modules])
    if kind != "graph":
        renders = ["jinja2"] if chats else []
        yield Expected(python, TEXT, backend, 1, [TEXT.partition(":")[0], backend, "tokenizers", *renders])


def _has_template(tokenizer: Path) -> bool:
    """Return whether a tokenizer's folder seems to have a chat template; one in a GGUF file is not looked for."""
    settings = tokenizer / "tokenizer_config.json"
    if any(tokenizer.glob("chat_template.*")):
        return True
    return settings.is_file() and b'"chat_template"' in read_limited(settings, LARGEST)
