"""Turn what the worker processes recorded (`worker/`) into figures with intervals.

Quality, speed, memory and energy are measured in separate passes, so that none disturbs another. Nothing in this
package runs in a backend's environment.
"""
