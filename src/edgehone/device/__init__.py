"""The machine that a model runs on: detection, limits, and conditions during measurements.

`detect` reads properties that do not change, `read_conditions` those that change during a measurement (frequency,
temperature, load), `read_inventory` what is attached (accelerators, power, storage, network). Unknown values are None.
"""
