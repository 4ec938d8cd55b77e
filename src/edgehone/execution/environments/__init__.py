"""The Python environments and compiled toolchains that backends run in."""
