"""The types of a pipeline file; words.toml says what each key means. data/pipeline.schema.json is made of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec

from edgehone.core.typed_json import OPTIONAL

StageName = Literal[
    "model_validation",
    "optimization",
    "testing",
    "packaging",
    "staging_deployment",
    "production_deployment",
    "monitoring",
]
Switch = Literal["enabled", "disabled"]
Need = Literal["required", "optional", "disabled"]
Scope = Literal["comprehensive", "basic", "disabled"]
Approval = Literal["automatic", "manual"]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=604_800)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]

# The sections that `edgehone package --from` reads.
DEPLOYMENTS: Final = ("mobile_deployment", "edge_server")
SECTION: Final = "edge_ai_pipeline"


@dataclass(frozen=True)
class Model:
    """What is optimized, and what it is evaluated with. Paths are relative to the file."""

    path: Text | None = field(default=None, metadata=OPTIONAL)
    name: Text | None = field(default=None, metadata=OPTIONAL)
    eval: Text | None = field(default=None, metadata=OPTIONAL)
    calibrate: Text | None = field(default=None, metadata=OPTIONAL)
    metric: Text | None = field(default=None, metadata=OPTIONAL)
    workload: Text | None = field(default=None, metadata=OPTIONAL)
    device: Text | None = field(default=None, metadata=OPTIONAL)
    config: Text | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class Registry:
    """Where versions are kept."""

    where: Text | None = field(default=None, metadata=OPTIONAL)
    blobs: Text | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class ModelValidation:
    """The stage model_validation."""

    accuracy_threshold: Share = field(default=0.95, metadata=OPTIONAL)
    performance_baseline: Need = field(default="optional", metadata=OPTIONAL)
    security_scan: Switch = field(default="enabled", metadata=OPTIONAL)
    approval: Approval = field(default="automatic", metadata=OPTIONAL)


@dataclass(frozen=True)
class Validation:
    """What the decision of the optimization must show."""

    cross_validation: Switch = field(default="enabled", metadata=OPTIONAL)
    performance_comparison: Need = field(default="required", metadata=OPTIONAL)


@dataclass(frozen=True)
class Optimization:
    """The stage optimization."""

    frameworks: tuple[Text, ...] = field(default=(), metadata=OPTIONAL)
    validation: Validation = field(default_factory=Validation, metadata=OPTIONAL)
    effort: Literal["quick", "normal", "thorough"] = field(default="normal", metadata=OPTIONAL)
    time: Text | None = field(default=None, metadata=OPTIONAL)
    when_busy: Literal["wait", "measure", "stop"] = field(default="wait", metadata=OPTIONAL)
    gates: tuple[Text, ...] = field(default=(), metadata=OPTIONAL)
    approval: Approval = field(default="automatic", metadata=OPTIONAL)


@dataclass(frozen=True)
class Testing:
    """The stage testing."""

    unit_tests: Scope = field(default="comprehensive", metadata=OPTIONAL)
    integration_tests: Literal["full_pipeline", "basic", "disabled"] = field(
        default="full_pipeline", metadata=OPTIONAL
    )
    load_tests: Literal["production_scale", "basic", "disabled"] = field(
        default="production_scale", metadata=OPTIONAL
    )
    security_tests: Scope = field(default="comprehensive", metadata=OPTIONAL)
    conditions: Literal["accept", "refuse"] = field(default="accept", metadata=OPTIONAL)
    profile: Text | None = field(default=None, metadata=OPTIONAL)
    soak: Text | None = field(default=None, metadata=OPTIONAL)
    key: Text | None = field(default=None, metadata=OPTIONAL)
    approval: Approval = field(default="automatic", metadata=OPTIONAL)


@dataclass(frozen=True)
class Packaging:
    """The stage packaging, of the blocks mobile_deployment and edge_server."""

    key: Text | None = field(default=None, metadata=OPTIONAL)
    approval: Approval = field(default="automatic", metadata=OPTIONAL)


@dataclass(frozen=True)
class Staging:
    """The stage staging_deployment."""

    seconds: Positive = field(default=5.0, metadata=OPTIONAL)
    clients: Annotated[int, msgspec.Meta(ge=1, le=256)] = field(default=4, metadata=OPTIONAL)
    approval: Approval = field(default="automatic", metadata=OPTIONAL)


@dataclass(frozen=True)
class Deployment:
    """The stages production_deployment and monitoring."""

    strategy: Literal["blue_green", "immediate"] = field(default="blue_green", metadata=OPTIONAL)
    traffic_ramping: Literal["gradual", "none"] = field(default="none", metadata=OPTIONAL)
    rollback: Literal["automatic", "manual"] = field(default="automatic", metadata=OPTIONAL)
    monitoring: Literal["real_time", "rules"] = field(default="rules", metadata=OPTIONAL)
    server: Text | None = field(default=None, metadata=OPTIONAL)
    admin_key_file: Text | None = field(default=None, metadata=OPTIONAL)
    rules: Text | None = field(default=None, metadata=OPTIONAL)
    serve_as: Text | None = field(default=None, metadata=OPTIONAL)
    seconds: Positive = field(default=5.0, metadata=OPTIONAL)
    approval: Approval = field(default="automatic", metadata=OPTIONAL)


@dataclass(frozen=True)
class Pipeline:
    """The section edge_ai_pipeline."""

    stages: tuple[StageName, ...]
    model: Model = field(default_factory=Model, metadata=OPTIONAL)
    registry: Registry = field(default_factory=Registry, metadata=OPTIONAL)
    model_validation: ModelValidation = field(default_factory=ModelValidation, metadata=OPTIONAL)
    optimization: Optimization = field(default_factory=Optimization, metadata=OPTIONAL)
    testing: Testing = field(default_factory=Testing, metadata=OPTIONAL)
    packaging: Packaging = field(default_factory=Packaging, metadata=OPTIONAL)
    staging_deployment: Staging = field(default_factory=Staging, metadata=OPTIONAL)
    deployment: Deployment = field(default_factory=Deployment, metadata=OPTIONAL)


@dataclass(frozen=True)
class Document:
    """A pipeline file: the pipeline, and the sections that are handed to `edgehone package --from`."""

    edge_ai_pipeline: Pipeline
    mobile_deployment: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)
    edge_server: Mapping[str, Any] | None = field(default=None, metadata=OPTIONAL)

    @property
    def deployments(self) -> dict[str, Any]:
        """The sections for `edgehone package --from`, as they are in the file."""
        found = {name: getattr(self, name) for name in DEPLOYMENTS}
        return {name: section for name, section in found.items() if section is not None}
