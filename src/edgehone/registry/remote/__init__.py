"""Copies of versions in OCI registries: a small client over HTTP that streams, resumes, and checks every byte.

A version is the same artifact there as here: whole files as layers, which any client of OCI registries can pull. What
is not sent: blobs that the repository has, blobs that another repository of the same host can give (mounts), and at a
pull the chunks that this registry has. For the latter a push attaches the lists of chunks to the version as a referrer,
and a pull asks for the missing ranges of the layers.
"""
