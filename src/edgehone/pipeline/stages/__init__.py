"""The stages of a pipeline, one file each, in the order in which they run."""

from __future__ import annotations

from typing import Final

from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages import (
    model_validation,
    monitoring,
    optimization,
    packaging,
    production_deployment,
    staging_deployment,
    testing,
)

STAGES: Final[tuple[Stage, ...]] = (
    model_validation.STAGE,
    optimization.STAGE,
    testing.STAGE,
    packaging.STAGE,
    staging_deployment.STAGE,
    production_deployment.STAGE,
    monitoring.STAGE,
)
BY_NAME: Final = {one.name: one for one in STAGES}
