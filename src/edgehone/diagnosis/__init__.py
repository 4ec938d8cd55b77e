"""Diagnose a bundle, a model or a toolchain's log: causes with the evidence found here, and remedies in order."""

from edgehone.diagnosis.diagnose import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
