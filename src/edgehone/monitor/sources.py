"""Where baselines come from: bundles and certificates that are named, or the bundles of a running server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from edgehone.attestation.errors import NotVerified
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.core.suggestions import suggest
from edgehone.monitor.alert import Baselines
from edgehone.monitor.baseline import read_baselines
from edgehone.monitor.generate import Monitored
from edgehone.monitor.server import bundles_of, models_of, server_url

# Where `edgehone serve` listens if nothing else is said.
DEFAULT = "127.0.0.1:8080"


def monitored(
    source: str, given: Sequence[str], *, admin_key: str | None = None, ca: Path | None = None
) -> Monitored:
    """Return the server of a bundle or at a URL, with the baselines of what it serves.

    `given` are bundles or certificates, NAME=PATH or PATH; of others the server tells an operator (`admin_key`) the
    folders. Raises InputError for wrong names, and if no baselines are known of any model.
    """
    if "://" not in source:
        path = Path(source)
        name = (path if path.is_dir() else path.absolute().parent).resolve().name
        found = _named(given, (name,)) or {name: path}
        return Monitored(DEFAULT, False, _read(found, (name,)))
    url = server_url(source)
    names = models_of(url, ca)
    told = bundles_of(url, admin_key, ca) if admin_key else {}
    known = {**{name: told[name] for name in names if name in told}, **_named(given, names)}
    if not known:
        raise InputError(
            f"no baselines are known of {', '.join(names)}, which {url} serves",
            hint=f"edgehone monitor {url} --baseline BUNDLE, or --admin-key-file FILE on the server's machine",
        )
    return Monitored(urlsplit(url).netloc, url.startswith("https"), _read(known, names))


def _named(given: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """Return the given paths by the names of models. A path without one is of the model that its folder is named as."""
    found: dict[str, Path] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or name not in names:
            path = Path(one)
            folder = (path if path.is_dir() else path.absolute().parent).resolve().name
            if equals and not path.exists():
                raise InputError(
                    f"--baseline {one!r}: no model {name!r} is served", hint=suggest(name, names)
                )
            name, text = (names[0] if len(names) == 1 else folder), one
        if name not in names:
            raise InputError(
                f"--baseline {one}: no model {name!r} is served",
                hint=f"--baseline NAME={one}; {suggest(name, names)}",
            )
        if name in found:
            raise InputError(
                f"--baseline names {name!r} twice: {found[name]} and {text}", hint="leave one out"
            )
        found[name] = Path(text)
    return found


def _read(paths: Mapping[str, Path], names: Sequence[str]) -> tuple[Baselines, ...]:
    """Return the baselines of all models: those without any have the reason. Raises the first error if all fail."""
    found, errors = list[Baselines](), list[EdgehoneError]()
    for name in names:
        if name not in paths:
            found.append(Baselines(name, {}, {}, reason="no bundle or certificate of it was given"))
            continue
        try:
            found.append(read_baselines(paths[name], name))
        except (InputError, NotVerified) as error:
            errors.append(error)
            reason = f"{error.message} ({error.hint})" if error.hint else error.message
            found.append(Baselines(name, {}, {}, reason=reason))
    if errors and not any(one.factors for one in found):
        raise errors[0]
    return tuple(found)
