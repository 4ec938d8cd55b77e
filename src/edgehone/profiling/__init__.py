"""Profile a bundle while it answers its workload: what limits it, with the rule, the figure and the threshold."""

from edgehone.profiling.profile import profile
from edgehone.profiling.result import Profile

__all__ = ["Profile", "profile"]
