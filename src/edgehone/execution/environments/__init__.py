"""Python environments and compiled toolchains of backends."""
