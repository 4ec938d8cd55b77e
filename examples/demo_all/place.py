"""The folder of the story: its keys and settings, and edgehone's verbs, run as a user runs them."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import InputError, JobError

NAME: Final = "demo-model"
_MARK: Final = ".demo-all"
# A decision of many candidates, printed as one JSON text.
_LONGEST_LINE: Final = 64 << 20


@dataclass(frozen=True)
class Place:
    """The folder of a run, and when it began (time.monotonic)."""

    folder: Path
    began: float = field(default_factory=time.monotonic)

    @property
    def registry(self) -> Path:
        """The registry of the versions."""
        return self.folder / "registry"

    @property
    def run(self) -> Path:
        """The folder of the pipeline's run."""
        return self.folder / "run"

    @property
    def operators(self) -> Path:
        """The file with the operators' key of the server."""
        return self.folder / "operators"

    @property
    def signing_key(self) -> Path:
        """The private key that signs the new version."""
        return self.folder / "signing.pem"

    def tell(self, text: str) -> None:
        """Print a sentence of the story, with the time."""
        print(f"[{time.monotonic() - self.began:4.0f} s] {text}", flush=True)

    async def edgehone(
        self, *words: str | Path, accepted: Sequence[int] = (0,), on_line: Callable[[str], None] | None = None
    ) -> Any:
        """Run a verb, and return the JSON that it prints. Its other lines go to log.txt, and to `on_line`.

        Raises JobError for an exit code that is not accepted.
        """
        command = [sys.executable, "-m", "edgehone.cli.main", *map(str, words), "--json"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdout=pipe, stderr=pipe, limit=_LONGEST_LINE
        )
        assert process.stdout and process.stderr
        try:
            out, _ = await asyncio.gather(process.stdout.read(), self._log(process.stderr, words, on_line))
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        found = _json(out)
        if code not in accepted:
            said = found.get("error") if isinstance(found, dict) else None
            verb = " ".join(map(str, words[:2]))
            raise JobError(
                f"edgehone {verb} ended with exit code {code}{f': {said}' if said else ''}",
                hint=f"see {self.folder / 'log.txt'}",
            )
        return found

    async def _log(
        self, lines: asyncio.StreamReader, words: Sequence[str | Path], on_line: Callable[[str], None] | None
    ) -> None:
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"$ edgehone {' '.join(map(str, words))}\n")
            async for line in lines:
                text = line.decode("utf-8", "replace")
                log.write(text)
                if on_line:
                    on_line(text)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {}


def prepared(folder: Path) -> Place:
    """Return an empty folder with the keys. Raises InputError for a folder with something else in it."""
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise InputError(f"{folder} has other files", hint="give another --out, or remove it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    place = Place(folder)
    _secret(place.operators, secrets.token_hex(32).encode() + b"\n")
    _secret(place.signing_key, _private_key())
    return place


def _secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _private_key() -> bytes:
    """Return a new private key, as `openssl ecparam -name prime256v1 -genkey` makes one."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
