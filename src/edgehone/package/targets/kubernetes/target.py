"""Manifests for Kubernetes: a Kustomize base, overlays for staging and production, and the bundle as an image to mount.

The pods run the image of the target `container`. Before it starts, an init container verifies the bundle; the server
verifies it again, and is ready when it gives the proven answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from edgehone.attestation.keys import read_verification_key
from edgehone.attestation.verify import check_approved, verify_bundle
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError, SetupError
from edgehone.monitor.alert import Baselines
from edgehone.monitor.baseline import baselines_in
from edgehone.package.target import Built, Carried, Check, Deliverable, Request, Tool
from edgehone.package.targets.kubernetes import options
from edgehone.package.targets.kubernetes.accelerators import accelerator_of, device_of, resource_of, table
from edgehone.package.targets.kubernetes.analysis import weights
from edgehone.package.targets.kubernetes.canary import canary_file, canary_steps
from edgehone.package.targets.kubernetes.checks import check_overlays
from edgehone.package.targets.kubernetes.manifests import MANIFESTS, Content, write_manifests
from edgehone.package.targets.kubernetes.model_image import FOLDER, TITLE, write_model_image
from edgehone.package.targets.kubernetes.options import Settings, settings_of
from edgehone.package.targets.kubernetes.sizing import bytes_of, sizes_of

NAME: Final = "kubernetes"
SUMMARY: Final = "Kustomize base and overlays, for Deployment, KServe or Argo Rollout"
TOOLS: Sequence[Tool] = ()
OPTIONS = options.OPTIONS
BUDGET: int | None = None
ACCEPTS_ANY: Final = (
    "the pods run the image that the option `image` names; which artifacts it serves is for its target to say"
)


def refuses(bundle: Bundle) -> str | None:
    """Return why no pod can serve the bundle."""
    manifest = bundle.manifest
    if not (bundle.canaries if manifest.kind == "graph" else manifest.canaries):
        return "it has no canaries, without which a server is never ready"
    try:
        accelerator_of(bundle)
    except KeyError:
        known = ", ".join(f"{device} ({name})" for name, one in table().items() for device in one["devices"])
        return f"it runs on the device {device_of(bundle)}; pods can ask for {known}"
    return None


def build(request: Request, folder: Path) -> Built:
    """Write the manifests, and with model=image-volume the image of the bundle."""
    bundle = request.bundle
    settings = settings_of(bundle, request.options)
    _check_accelerated(bundle, settings)
    sizes = sizes_of(bundle, settings)
    key = _checked_key(bundle, settings)
    source, carried = _source(request, settings, folder)
    accelerator = accelerator_of(bundle)
    content = Content(
        settings, sizes, bundle.manifest.artifact_key[:12], source, bytes_of(bundle), key, accelerator,
        _baselines(bundle, settings), bundle.manifest.kind != "graph",
    )  # fmt: skip
    overlays = write_manifests(content, folder)
    deliverables = [Deliverable(MANIFESTS, "base, components and overlays for kubectl apply -k")]
    if carried:
        deliverables.append(Deliverable(FOLDER, "OCI image layout of the bundle, to be pushed and mounted"))
    return Built(
        tuple(deliverables),
        carried,
        _readme(content, overlays),
        _notes(bundle, settings, source, accelerator),
    )


def check(folder: Path, built: Built, scratch: Path) -> Sequence[Check]:
    """Build every overlay with kubectl, and judge the objects by strict schemas and by what they refer to."""
    found = sorted((folder / MANIFESTS / "overlays").iterdir())
    return check_overlays(folder, [one.relative_to(folder).as_posix() for one in found])


def _check_accelerated(bundle: Bundle, settings: Settings) -> None:
    own = accelerator_of(bundle)
    if own in settings.accelerated:
        raise InputError(
            f"this bundle runs on {own} itself: the option image is its image",
            hint=f"leave out --set image-{own}",
        )
    if own is not None and settings.accelerated:
        raise InputError(
            f"this bundle runs on {own}; overlays for other accelerators belong to a bundle for the CPU",
            hint=f"leave out --set image-{next(iter(settings.accelerated))}",
        )


def _checked_key(bundle: Bundle, settings: Settings) -> str | None:
    """Return the public key (PEM). Raises NotVerified if what it signed is not this bundle, or is not approved."""
    if settings.key is None:
        return None
    check_approved(verify_bundle(bundle.path, read_verification_key([settings.key])))
    return Path(settings.key).read_text("utf-8")


def _baselines(bundle: Bundle, settings: Settings) -> Baselines | None:
    """Return the baselines of the bundle's certificate, under the name that it is served as; None without one."""
    certificate = verify_bundle(bundle.path).certificate
    return baselines_in(certificate.monitoring, settings.name) if certificate else None


def _source(request: Request, settings: Settings, folder: Path) -> tuple[str | None, tuple[Carried, ...]]:
    """Return the image or artifact, by its digest, that the pods get the bundle from, and what the package carries."""
    if settings.model == "image-volume":
        image = write_model_image(request, folder, settings.name)
        return f"{settings.repository}@{image.digest}", image.carried
    if settings.model == "init-pull":
        return f"oci://{settings.repository}@{_artifact_digest(request.bundle)}", ()
    return None, ()


def _artifact_digest(bundle: Bundle) -> str:
    """Return the digest that `edgehone registry push` gives the bundle on every machine."""
    try:
        from edgehone.registry.push import read_contents
    except ModuleNotFoundError as error:
        raise SetupError(
            f"model=init-pull needs the package {error.name}, which is not installed",
            hint='pip install "edgehone[registry]"',
        ) from error
    return read_contents(bundle.path, None)[0].digest


def _notes(
    bundle: Bundle, settings: Settings, source: str | None, accelerator: str | None
) -> tuple[str, ...]:
    notes = ["no cluster has run these manifests: they were built and judged by their schemas only"]
    if settings.model != "image-volume":
        names = ", ".join(sorted(one.name for one in bundle.artifact.rglob("*") if one.is_file()))
        where = f"is fetched from {source}" if source else f"is in the image {settings.image.name}"
        notes.append(
            f"the artifact ({names}) is not in this package: it {where}, and is verified before it is loaded"
        )
    if settings.key is None:
        notes.append(
            "who signed the bundle is not checked (unsigned=yes): the pods compare its files with its manifest only"
        )
    if settings.model == "init-pull":
        notes.append(
            "pods may connect to every address on the registry's port, since a network policy knows no host names and "
            "does not distinguish the init container; model=image-volume needs no connection"
        )
    notes += [
        f"the bundle for {one} in its image is another one, whose figures are in a package of its own"
        for one in settings.accelerated
    ]
    if accelerator:
        notes.append(f"requests and limits count the memory of the host; the bundle runs on {accelerator}")
    return tuple(notes)


def _readme(content: Content, overlays: Sequence[str]) -> str:
    settings = content.settings
    rows = [f"    kubectl apply -k {one}" for one in overlays]
    values = {
        "name": settings.name,
        "namespace": settings.namespace,
        "image": f"{settings.image.name}@{settings.image.digest}",
        "image_name": settings.image.name,
        "overlays": "\n".join(rows),
        "workload": {"deployment": "deployment", "rollout": "rollout", "kserve": "inferenceservice"}[
            settings.kind
        ],
        "kind": {
            "deployment": "a Deployment",
            "rollout": "an Argo Rollout",
            "kserve": "a KServe InferenceService",
        }[settings.kind],
        "push": _part(f"readme-{settings.model}", content),
        "signature": _part("readme-signed" if content.key else "readme-unsigned", content),
        "needs": _needs(content),
        "reasons": "\n".join(f"- {one}" for one in content.sizes.reasons),
        "clients_key": settings.clients[0],
        "clients": "=".join(settings.clients),
        "monitoring": settings.monitoring_namespace,
        "service": f"{settings.name}-predictor" if settings.kind == "kserve" else settings.name,
        "service_port": "80" if settings.kind == "kserve" else "8080",
        "rollout": _releasing(content),
    }
    return _template("readme").substitute(values)


def _releasing(content: Content) -> str:
    """Return how a new version gets its requests step by step."""
    if content.settings.kind == "rollout":
        return _part("readme-rollout", content)
    is_canary = content.settings.kind == "kserve" and content.accelerator is None
    return _part("readme-canary", content) if is_canary else ""


def _part(name: str, content: Content) -> str:
    source = content.source or ""
    repository, _, digest = source.removeprefix("oci://").partition("@")
    values = {
        "name": content.settings.name,
        "repository": repository,
        "digest": digest,
        "source": source,
        "layout": f"oci:{FOLDER}:{TITLE}",
        "namespace": content.settings.namespace,
        "canaries": "\n".join(
            f"    kubectl patch inferenceservice {content.settings.name} -n {content.settings.namespace}-production "
            f"--type=merge --patch-file manifests/canary/{canary_file(share)}"
            for share, _ in canary_steps(content.settings)
        ),
        "least": str(content.settings.replicas),
        "most": str(content.settings.most_replicas),
        "steps": ", then ".join(f"{one} %" for one in weights(content.settings.most_replicas)),
        "judge": "Prometheus judges each step (`manifests/base/analysistemplate.yaml`): errors, latency and memory "
        "against the old pods, by the rules of `edgehone rollout`, and the new pods by the alerts of the certificate. "
        "Without enough requests, or between the limits, the rollout waits for a person."
        if content.settings.prometheus
        else "A person decides after the first step; with `--set prometheus=URL` Prometheus does.",
    }
    return _template(name).substitute(values).rstrip("\n")


def _template(name: str) -> Template:
    place = files("edgehone.package.targets.kubernetes").joinpath("templates", f"{name}.md.template")
    return Template(place.read_text("utf-8"))


def _needs(content: Content) -> str:
    settings = content.settings
    lines = ["metrics-server, for the scaling by CPU"]
    lines.append(
        "Prometheus Operator, for the ServiceMonitor; prometheus-adapter with the rule in "
        "`manifests/monitoring/prometheus-adapter.yaml`, for the scaling by requests; without it the scaling is by "
        "CPU only, and never down"
    )
    lines.append(
        "a network plugin that enforces NetworkPolicy; without one, the policy is accepted and has no effect"
    )
    if settings.kind == "rollout":
        lines.append("the controller of Argo Rollouts")
    if settings.kind == "kserve":
        lines.append(
            "KServe 0.16 or newer, whose deployment mode `Standard` needs no Knative; for canaries 0.20, with the "
            "Gateway API switched on (`enableGatewayApi`), whose routes have the weights"
        )
    if settings.model == "image-volume":
        lines.append(
            "image volumes: Kubernetes 1.35, or 1.33 with the feature gate ImageVolume; containerd 2.1 or CRI-O 1.33"
        )
    lines.append(
        "Kubernetes 1.30 or newer, for the `sleep` before a pod ends (in 1.29 behind a feature gate)"
    )
    names = [*([content.accelerator] if content.accelerator else []), *settings.accelerated]
    lines.extend(
        f"for {name} (`{resource_of(name, settings.intel_driver)}`): {table()[name]['needs']}"
        for name in names
    )
    return "\n".join(f"- {one}" for one in lines)
