"""What the model must run on: detection of this machine, its limits and the conditions it runs under.

`detect` reads what stays the same, `read_conditions` what changes while one measures (frequency, heat, load).
What a machine does not tell is None.
"""
