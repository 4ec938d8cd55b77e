"""Fleets of devices that follow a signed channel in an OCI registry.

A publisher signs a small document, the channel, that names one release: a bundle by the digest of its OCI manifest. An
agent on each device pulls the channel, and the release where it is allowed to, keeps two slots, proves the new one,
switches, goes back when it fails, and reports to the registry. There is no other server. docs/fleets.md explains the
design.
"""
