"""The settings of a server: from the command line, over those of a TOML file, over the defaults.

    port = 8080
    parallel = 8
    unload_after = 600

    [bundles.chat]
    path = "bundles/chat-v2"
    parallel = 4

Paths in the file are relative to its folder.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest

_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_PATHS = ("api_key_file", "admin_key_file", "tls_cert", "tls_key", "verify_key", "revoked", "state",
          "samples_key_file")  # fmt: skip
# The smallest and largest value of each number.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "port": (0, 65535), "grpc_port": (0, 65535), "parallel": (1, 1024), "max_queue": (0, 100_000),
    "max_batch": (1, 65_536), "batch_delay": (0, 1000), "largest_input": (1, 1e6),
    "request_seconds": (1, 86_400),
    "unload_after": (1, 31_536_000),
    # A pair of tenant and route has up to 6 lines of /metrics, of which 1,000 take about 5 ms to write.
    "most_callers": (1, 1000),
    "confidence_every": (0, 1_000_000),
    "price_per_1000_tokens": (0, 1e9), "price_per_engine_second": (0, 1e9),
    # Fewer samples make no reference (drift/drift.toml), more are not used (drift/reference.py).
    "drift_requests": (48, 8192), "drift_alpha": (1e-9, 0.5), "keep_samples": (8, 100_000),
}  # fmt: skip


class BundleSettings(msgspec.Struct, forbid_unknown_fields=True):
    """A bundle: its folder, and how many requests its engine answers at once."""

    path: str
    parallel: int | None = None


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The settings of a server. `bundles` are named as clients ask for them.

    Times are in seconds, but `batch_delay` in milliseconds. `largest_input` is how many times as large as in its
    evaluation an input of a graph may be. `most_callers` is the number of pairs of tenant and route
    that are told apart; of one in `confidence_every` answers of language models the confidence is measured (0: none).
    The first `drift_requests` requests become the reference of drift detection. The probability that it ever raises a
    false alarm is at most `drift_alpha`. `keep_samples` requests of each bundle are kept, encrypted (None: none).
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = None
    api_key_file: str | None = None
    admin_key_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    verify_key: str | None = None
    revoked: str | None = None
    parallel: int = 8
    max_queue: int | None = None
    max_batch: int | None = None
    batch_delay: float = 0.0
    largest_input: float = 4.0
    request_seconds: float = 600.0
    unload_after: float | None = None
    state: str | None = None
    otlp: str | None = None
    tenant_header: str = "X-Tenant"
    route_header: str = "X-Route"
    most_callers: int = 64
    confidence_every: int = 20
    price_per_1000_tokens: float = 0.0
    price_per_engine_second: float = 0.0
    drift_requests: int = 1536
    drift_alpha: float = 0.01
    keep_samples: int | None = None
    samples_key_file: str | None = None
    bundles: dict[str, BundleSettings] = {}


def read_settings(file: str | None, given: Mapping[str, Any], bundles: Sequence[str]) -> Settings:
    """Return the settings. `given` are those of the command line, `bundles` its folders, which replace the file's.

    Raises InputError for a file that cannot be read, a setting that is unknown or out of range, and for no bundle.
    """
    stored = _read(Path(file)) if file else {}
    words = {name: value for name, value in given.items() if value is not None}
    if bundles:
        words["bundles"] = _named(bundles)
    settings = _converted({**stored, **words}, file)
    _check(settings)
    if not settings.bundles:
        raise InputError(
            "no bundle is given", hint="edgehone serve BUNDLE, or [bundles.NAME] in --config FILE"
        )
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        stored = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"the settings {path} cannot be read: {error}", hint="see docs/serving.md for an example"
        ) from error
    tables = stored.get("bundles")
    for table in tables.values() if isinstance(tables, dict) else ():
        if isinstance(table, dict) and isinstance(table.get("path"), str):
            table["path"] = str(path.parent / table["path"])
    own = {name: str(path.parent / stored[name]) for name in _PATHS if isinstance(stored.get(name), str)}
    return {**stored, **own}


def _converted(settings: Mapping[str, Any], file: str | None) -> Settings:
    try:
        return msgspec.convert(settings, Settings)
    except msgspec.ValidationError as error:
        text = str(error)
        _, unknown, rest = text.partition("unknown field `")
        known = Settings.__struct_fields__ if "$.bundles" not in text else BundleSettings.__struct_fields__
        hint = suggest(rest.partition("`")[0], known) if unknown else "see docs/serving.md for an example"
        raise InputError(f"{file or 'the command line'}: {text}", hint=hint) from error


def _check(settings: Settings) -> None:
    own = {name: getattr(settings, name) for name in _LIMITS}
    parallel = {f"bundles.{name}.parallel": one.parallel for name, one in settings.bundles.items()}
    for name, value in (*own.items(), *parallel.items()):
        least, most = _LIMITS[name.rpartition(".")[2]]
        if value is not None and not least <= value <= most:
            option = name if "." in name else f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is {value}", hint=f"give a number from {least:g} to {most:g}")
    for name in settings.bundles:
        if not name or "/" in name:
            raise InputError(f"[bundles.{name}] is no name of a bundle", hint="give a name without a slash")
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise InputError("--tls-cert and --tls-key belong together", hint="give both, or none")
    for name in ("tenant_header", "route_header"):
        if not _HEADER.fullmatch(value := getattr(settings, name)):
            raise InputError(f"{name} is {value[:80]!r}, no name of a header", hint=f'{name} = "X-Name"')
    if bool(settings.keep_samples) != bool(settings.samples_key_file):
        raise InputError(
            "--keep-samples and --samples-key-file belong together",
            hint="kept samples are encrypted: (umask 077; openssl rand -hex 32 > samples.key)",
        )
    if settings.keep_samples and not settings.state:
        raise InputError("--keep-samples needs a folder to keep them in", hint="add --state DIR")
    if settings.revoked and not settings.verify_key:
        raise InputError("--revoked needs --verify-key", hint="give both, or none")


def _named(paths: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the bundles' folders by their own names."""
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        name = Path(path).resolve().name
        if name in found:
            raise InputError(
                f"{found[name]['path']} and {path} have the same name",
                hint="rename one of the folders, or name them in --config FILE",
            )
        found[name] = {"path": path}
    return found
