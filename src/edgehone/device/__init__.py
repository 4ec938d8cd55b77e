"""What the model must run on: detection of this machine, its limits and the conditions it runs under.

`detect` reads what stays the same, `read_conditions` what changes while one measures (frequency, heat, load).
What a machine does not tell is None.
"""

from edgehone.device.detect import Device, detect
from edgehone.device.throttle import Conditions, difference, read_conditions

__all__ = ["Conditions", "Device", "detect", "difference", "read_conditions"]
