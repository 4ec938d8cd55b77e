"""One module a toolchain, and what they share: `base` is the contract, `registry` finds them by entry point."""
