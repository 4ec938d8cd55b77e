"""Profile a bundle while it runs its workload, and name its bottlenecks with rule, figure and threshold."""

from edgehone.profiling.profile import profile
from edgehone.profiling.result import Profile

__all__ = ["Profile", "profile"]
