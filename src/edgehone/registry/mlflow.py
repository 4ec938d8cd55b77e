"""Export a version to the model registry of an MLflow server, over its REST API.

The bundle becomes a run in the experiment `edgehone`: its files are the run's artifacts, the figures of the candidate
its metrics (with the ends of their intervals), the recipe its parameters. The run becomes a version of the registered
model, with the digest and the approval as tags, and with the aliases that the version has here. Exporting the same
version again finds it by its digest, and sets the aliases only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

import httpx
import sqlalchemy as sa

from edgehone.bundle.schema import DECISION
from edgehone.core.errors import InputError, SetupError
from edgehone.decision.decision import Decision
from edgehone.registry import events
from edgehone.registry.canonical import canonical
from edgehone.registry.modelpack import File
from edgehone.registry.schema import ALIASES
from edgehone.registry.session import Registry, Version, manifest_of

_API: Final = "api/2.0/mlflow"
_ARTIFACTS: Final = "api/2.0/mlflow-artifacts/artifacts"
_EXPERIMENT: Final = "edgehone"
_DIGEST: Final = "edgehone.digest"
_FOLDER: Final = "bundle"
# As for OCI registries (remote/limits.toml): a connection, and a pause within a transfer.
_TIMEOUT: Final = httpx.Timeout(30, connect=10)
# What MLflow takes in one request, and in one value.
_BATCH: Final = 100
_LONGEST_VALUE: Final = 500


@dataclass(frozen=True)
class Exported:
    """A version in MLflow. `new`: it was not there before."""

    to: str
    name: str
    version: str
    run: str
    new: bool
    aliases: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)

    def line(self) -> str:
        """Return it as text."""
        aliases = f", aliases: {', '.join(self.aliases)}" if self.aliases else ""
        state = "" if self.new else " (was there)"
        return f"{self.to}: {self.name} version {self.version}{state}{aliases}"


def export(registry: Registry, version: Version, url: str, *, by: str) -> Exported:
    """Export a version to mlflow+http://HOST:PORT/NAME or mlflow+https://… (NAME default: the version's).

    Raises SetupError if the server cannot be reached or refuses, InputError if a blob here is damaged.
    """
    base, name = _address(url, version)
    with httpx.Client(base_url=base, timeout=_TIMEOUT) as http, registry.blobs.keeping():
        server = _Server(http, base)
        server.registered(name)
        there = server.version_of(name, version.digest)
        number, run = there or _create(server, registry, version, name)
        aliases = _aliases(registry, version)
        for alias in aliases:
            server.post("registered-models/alias", {"name": name, "alias": alias, "version": number})
    done = Exported(url, name, number, run, there is None, aliases)
    if done.new:
        with registry.database.writing() as connection:
            events.append(
                connection,
                "copy",
                version.name,
                by=by,
                number=version.number,
                digest=version.digest,
                detail=done.to_json(),
            )
    return done


def _address(url: str, version: Version) -> tuple[str, str]:
    try:
        parsed = httpx.URL(url.removeprefix("mlflow+"))
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if not url.startswith("mlflow+") or parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(
            f"{url!r} is not the address of an MLflow server", hint="mlflow+http://HOST:PORT/NAME"
        )
    # MLflow takes no slash in a name.
    name = parsed.path.strip("/") or version.name.replace("/", ".")
    return str(parsed.copy_with(raw_path=b"/")), name


def _aliases(registry: Registry, version: Version) -> tuple[str, ...]:
    query = sa.select(ALIASES.c.alias).where(ALIASES.c.version == version.id).order_by(ALIASES.c.alias)
    with registry.database.reading() as connection:
        return tuple(connection.execute(query).scalars())


def _create(server: _Server, registry: Registry, version: Version, name: str) -> tuple[str, str]:
    _, files = manifest_of(registry, version)
    decision = _decision(registry, version, files)
    run, place = server.begin_run(version)
    for file in files:
        server.upload(f"{place}/{_FOLDER}/{file.path}", file, registry.blobs.read(file.digest))
    server.log(run, decision)
    server.post("runs/update", {"run_id": run, "status": "FINISHED", "end_time": int(time.time() * 1000)})
    tags = {
        _DIGEST: version.digest,
        "edgehone.version": version.reference,
        "edgehone.approval": version.approval,
        "edgehone.signed_by": version.signed_by or "",
    }
    created = server.post(
        "model-versions/create",
        {
            "name": name,
            "source": f"runs:/{run}/{_FOLDER}",
            "run_id": run,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
            "description": f"{version.facts['backend']}/{version.facts['recipe']} by edgehone",
        },
    )
    return str(created["model_version"]["version"]), run


def _decision(registry: Registry, version: Version, files: list[File]) -> Decision:
    file = next(one for one in files if one.path == DECISION)
    source = f"{version.reference}/{DECISION}"
    return Decision.from_json(json.loads(registry.blobs.read_bytes(file.digest)), source)


@dataclass(frozen=True)
class _Server:
    http: httpx.Client
    base: str

    def registered(self, name: str) -> None:
        """Make the registered model, unless it is there."""
        taken = ("RESOURCE_ALREADY_EXISTS",)
        self.post("registered-models/create", {"name": name}, accept=taken)

    def version_of(self, name: str, digest: str) -> tuple[str, str] | None:
        """Return the version and the run of a model that have the digest."""
        quoted = name.replace("'", "\\'")
        where = {"filter": f"name='{quoted}' and tags.`{_DIGEST}`='{digest}'"}
        found = self._json(self._send("GET", f"{_API}/model-versions/search", params=where))
        for one in found.get("model_versions", []):
            return str(one["version"]), str(one.get("run_id", ""))
        return None

    def begin_run(self, version: Version) -> tuple[str, str]:
        """Begin a run and return its id and the path of its artifacts on the server."""
        experiment = self._experiment()
        tags = {"mlflow.runName": version.reference, _DIGEST: version.digest}
        run = self.post(
            "runs/create",
            {
                "experiment_id": experiment,
                "start_time": int(time.time() * 1000),
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            },
        )["run"]["info"]
        kind, colon, path = str(run["artifact_uri"]).partition(":")
        if kind != "mlflow-artifacts" or not colon:
            raise SetupError(
                f"{self.base} keeps artifacts at {run['artifact_uri']}, which it does not serve",
                hint="start the server with --serve-artifacts",
            )
        return str(run["run_id"]), f"{_ARTIFACTS}/{path.strip('/')}"

    def _experiment(self) -> str:
        where = {"experiment_name": _EXPERIMENT}
        response = self._send("GET", f"{_API}/experiments/get-by-name", params=where, accept=(404,))
        if response.status_code != 404:
            return str(self._json(response)["experiment"]["experiment_id"])
        return str(self.post("experiments/create", {"name": _EXPERIMENT})["experiment_id"])

    def upload(self, path: str, file: File, pieces: Iterator[bytes]) -> None:
        """Send a file."""
        headers = {"Content-Length": str(file.size), "Content-Type": "application/octet-stream"}
        name = quote(str(PurePosixPath(path)))
        self._send("PUT", name, headers=headers, content=pieces if file.size else b"")

    def log(self, run: str, decision: Decision) -> None:
        """Log the figures of the bundled candidate and its recipe."""
        now = int(time.time() * 1000)
        metrics = [
            {"key": key, "value": value, "timestamp": now, "step": 0}
            for key, value in _metrics(decision).items()
        ]
        params = [{"key": key, "value": value} for key, value in _params(decision).items()]
        self.post("runs/log-batch", {"run_id": run, "params": params[:_BATCH]})
        for begin in range(0, len(metrics), _BATCH):
            self.post("runs/log-batch", {"run_id": run, "metrics": metrics[begin : begin + _BATCH]})

    def post(self, path: str, data: Mapping[str, Any], accept: tuple[str, ...] = ()) -> Any:
        """Send a request of the REST API; `accept` are the codes of errors that are none here."""
        response = self._send("POST", f"{_API}/{path}", json=data, accept=(400, 409) if accept else ())
        answer = self._json(response)
        if response.is_error and answer.get("error_code") not in accept:
            raise self._refused(response)
        return answer

    def _send(self, method: str, path: str, accept: tuple[int, ...] = (), **more: Any) -> httpx.Response:
        try:
            response = self.http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise SetupError(
                f"{self.base} cannot be used: {error or type(error).__name__}",
                hint="check the address and the network",
            ) from error
        if response.is_error and response.status_code not in accept:
            raise self._refused(response)
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            data = response.json()
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise InputError(
                f"{self.base} is not an MLflow server: {response.request.url.path} gave {response.text[:80]!r}",
                hint="check the address",
            )
        return data

    def _refused(self, response: httpx.Response) -> SetupError:
        return SetupError(
            f"{self.base} answered {response.status_code} to {response.request.method} "
            f"{response.request.url.path}: {response.text[:300]}",
            hint="check the address and the server's log",
        )


def _metrics(decision: Decision) -> dict[str, float]:
    metrics = {}
    for name, figure in decision.candidate(decision.bundled or "").figures.items():
        for part in ("value", "low", "high"):
            number = getattr(figure, part)
            if number is not None:
                metrics[name if part == "value" else f"{name}.{part}"] = float(number)
    return metrics


def _params(decision: Decision) -> dict[str, str]:
    candidate = decision.candidate(decision.bundled or "")
    facts = {
        "candidate": candidate.key,
        "model": decision.model.get("digest"),
        "device": decision.device.get("cpu"),
        "workload": decision.workload.get("name"),
        "recipe": canonical(dict(candidate.recipe)),
    }
    return {name: str(value)[:_LONGEST_VALUE] for name, value in facts.items() if value}
