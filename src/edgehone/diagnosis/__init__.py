"""Diagnose a bundle, a model or a toolchain's log: causes with their evidence, and remedies in order."""

from edgehone.diagnosis.diagnose import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
