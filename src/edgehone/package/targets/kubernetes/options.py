"""The options of the target, checked strictly: what Kubernetes would refuse is refused here, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package.names import original_name
from edgehone.package.target import Option

ACCELERATED: Final = ("nvidia", "intel-gpu", "intel-npu")
OPTIONS: Final[Sequence[Option]] = (
    Option("image", "image that the container target made with server=edgehone, by digest: HOST/NAME@sha256:…"),
    Option("name", "name of the objects, and of the model that clients ask for (default: the model's)"),
    Option("namespace", "namespaces are this with -staging and -production (default: the name)"),
    Option("kind", "what runs the pods", "deployment", ("deployment", "kserve", "rollout")),
    Option("model", "where the bundle comes from", "baked", ("baked", "image-volume", "init-pull")),
    Option("repository", "where the bundle will be, for image-volume and init-pull: HOST/NAME"),
    Option("pull-image", "image with `edgehone registry`, by digest, for init-pull"),
    Option("key", "public key (PEM) that must have signed the bundle", file=True),
    Option("unsigned", "start bundles without a check of who signed them", "no", ("yes", "no")),
    Option("replicas", "least replicas in production", "2"),
    Option("max-replicas", "most replicas in production", "10"),
    Option("requests-per-second", "of one replica, to scale at (default: 70 % of the measured ones)"),
    Option("request-seconds", "longest time of a request", "120"),
    Option("parallel", "requests that an engine answers at once", "8"),
    Option("memory", "request and limit of memory, such as 512Mi (default: from the bundle's figures)"),
    Option("cpu", "request of processors, such as 2 or 500m (default: the threads of the proof)"),
    Option("clients", "label of the namespaces that may send requests", "edgehone-client=true"),
    Option("monitoring-namespace", "namespace of Prometheus", "monitoring"),
    Option("prometheus", "URL of Prometheus, which judges the canaries of a rollout"),
    *(
        Option(f"image-{one}", f"image with a bundle of this model for {one}, by digest: adds overlays")
        for one in ACCELERATED
    ),
    Option("intel-driver", "kernel driver of Intel's GPUs", "i915", ("i915", "xe")),
)  # fmt: skip

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?)"
_REPOSITORY = re.compile(rf"{_HOST}(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)+")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:m|Ki|Mi|Gi|k|M|G)?")
_KEY = re.compile(r"(?:[a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"(?:[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LONGEST_NAME = 40  # so that what is appended to it stays within the 63 characters of a label


@dataclass(frozen=True)
class Image:
    """An image by its digest."""

    name: str
    digest: str


@dataclass(frozen=True)
class Settings:
    """The options with their types. `key` is a path, None if signatures are not checked."""

    name: str
    namespace: str
    kind: str
    model: str
    image: Image
    repository: str | None
    puller: Image | None
    key: str | None
    replicas: int
    most_replicas: int
    requests_per_second: float | None
    request_seconds: int
    parallel: int
    memory: str | None
    cpu: str | None
    clients: tuple[str, str]
    monitoring_namespace: str
    prometheus: str | None
    accelerated: Mapping[str, Image]
    intel_driver: str


def settings_of(bundle: Bundle, given: Mapping[str, str]) -> Settings:
    """Return the options of a package. Raises InputError, with the option's name and value, for a wrong one."""
    name = given.get("name") or _name_of(bundle)
    _check(
        _LABEL.fullmatch(name) and len(name) <= _LONGEST_NAME,
        "name",
        name,
        "lower-case letters, digits and '-', at most 40",
    )
    namespace = given.get("namespace", name)
    for option, value in (("namespace", namespace), ("monitoring-namespace", given["monitoring-namespace"])):
        _check(
            _LABEL.fullmatch(value) and len(value) <= 52,
            option,
            value,
            "lower-case letters, digits and '-', at most 52",
        )
    settings = Settings(
        name=name,
        namespace=namespace,
        kind=given["kind"],
        model=given["model"],
        image=_image(given, "image"),
        repository=_repository(given),
        puller=_image(given, "pull-image") if given["model"] == "init-pull" else None,
        key=_key(given),
        replicas=_whole(given, "replicas", 1, 1000),
        most_replicas=_whole(given, "max-replicas", 1, 1000),
        requests_per_second=_rate(given),
        request_seconds=_whole(given, "request-seconds", 1, 86_400),
        parallel=_whole(given, "parallel", 1, 1024),
        memory=_quantity(given, "memory"),
        cpu=_quantity(given, "cpu"),
        clients=_label(given),
        monitoring_namespace=given["monitoring-namespace"],
        prometheus=_url(given),
        accelerated={one: _image(given, f"image-{one}") for one in ACCELERATED if f"image-{one}" in given},
        intel_driver=given["intel-driver"],
    )
    _check_together(settings, given)
    return settings


def _check_together(settings: Settings, given: Mapping[str, str]) -> None:
    most = str(settings.most_replicas)
    _check(
        settings.replicas <= settings.most_replicas,
        "max-replicas",
        most,
        f"at least the {settings.replicas} of replicas",
    )
    if settings.accelerated and settings.model != "baked":
        first = next(iter(settings.accelerated))
        raise InputError(
            f"image-{first} needs model=baked: the bundle for {first} is another one, which its image contains",
            hint="--set model=baked, or package that bundle by itself",
        )
    unused = {
        "pull-image": settings.model != "init-pull",
        "repository": settings.model == "baked",
        "prometheus": settings.kind != "rollout",
    }
    for option, is_unused in unused.items():
        if is_unused and option in given:
            raise InputError(
                f"the option {option} has no effect on this package", hint="edgehone package --list"
            )


def _check(good: object, option: str, value: str, wanted: str) -> None:
    if not good:
        raise InputError(f"the option {option} of kubernetes is {value!r}", hint=f"give {wanted}")


def _name_of(bundle: Bundle) -> str:
    """Return the name that the container target gives the model, by the same rule."""
    text = original_name(bundle.manifest).lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:_LONGEST_NAME].strip("-") or "model"


def _image(given: Mapping[str, str], option: str) -> Image:
    if option not in given:
        raise InputError(
            f"the option {option} of kubernetes is missing: an image by its digest",
            hint=f"--set {option}=HOST/NAME@sha256:…; edgehone package BUNDLE --for container makes the image",
        )
    name, at, digest = given[option].partition("@")
    if not at:
        raise InputError(
            f"the option {option} is {given[option]!r}, which has no digest; a tag can be moved to another image",
            hint="give HOST/NAME@sha256:…: skopeo inspect docker://HOST/NAME:TAG prints the digest",
        )
    host, slash, rest = name.rpartition("/")
    bare = f"{host}{slash}{rest.partition(':')[0]}"  # a tag beside a digest says nothing
    good = _REPOSITORY.fullmatch(bare) and _DIGEST.fullmatch(digest)
    _check(good, option, given[option], "HOST/NAME@sha256: and 64 hexadecimal digits")
    return Image(bare, digest)


def _repository(given: Mapping[str, str]) -> str | None:
    if given["model"] == "baked":
        return None
    if "repository" not in given:
        raise InputError(
            f"model={given['model']} needs the option repository: where the bundle will be",
            hint="--set repository=HOST/NAME; the digest is computed",
        )
    value = given["repository"]
    _check(
        _REPOSITORY.fullmatch(value), "repository", value, "HOST/NAME without a tag; the digest is computed"
    )
    return value


def _key(given: Mapping[str, str]) -> str | None:
    key, is_unsigned = given.get("key"), given["unsigned"] == "yes"
    if key is None and not is_unsigned:
        raise InputError(
            "the option key of kubernetes is missing: who must have signed the bundle",
            hint="--set key=signing.pub, or --set unsigned=yes to start bundles that nobody signed",
        )
    if key is not None and is_unsigned:
        raise InputError("key and unsigned=yes contradict each other", hint="give one of the two")
    return key


def _whole(given: Mapping[str, str], option: str, least: int, most: int) -> int:
    value = given[option]
    good = re.fullmatch(r"[0-9]{1,9}", value) and least <= int(value) <= most
    _check(good, option, value, f"a whole number from {least} to {most}")
    return int(value)


def _rate(given: Mapping[str, str]) -> float | None:
    value = given.get("requests-per-second")
    if value is None:
        return None
    good = re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", value) and float(value) > 0
    _check(good, "requests-per-second", value, "a number above 0 with at most three decimals")
    return float(value)


def _quantity(given: Mapping[str, str], option: str) -> str | None:
    value = given.get(option)
    if value is not None:
        _check(
            _QUANTITY.fullmatch(value) and re.search(r"[1-9]", value),
            option,
            value,
            "a quantity such as 500m, 2 or 512Mi",
        )
    return value


def _label(given: Mapping[str, str]) -> tuple[str, str]:
    text = given["clients"]
    key, equals, value = text.partition("=")
    good = equals and _KEY.fullmatch(key) and _VALUE.fullmatch(value)
    _check(good, "clients", text, "a label: KEY=VALUE")
    return key, value


def _url(given: Mapping[str, str]) -> str | None:
    value = given.get("prometheus")
    if value is not None:
        good = re.fullmatch(rf"https?://{_HOST}(?:/[A-Za-z0-9._~/-]*)?", value)
        _check(good, "prometheus", value, "a URL such as http://prometheus.monitoring:9090")
    return value
