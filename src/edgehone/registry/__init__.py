"""The registry: versions of bundles by name, what their aliases pointed to at any time, and the files of all of them.

A registry has a database and a folder of blobs. The database (`schema`; SQLite, or PostgreSQL by URL) holds versions,
aliases and events. Events are append-only, and each contains the hash of the one before it (`events`), so that an edit
of any of them is seen. The blobs are the files of the bundles by their SHA-256, in an OCI image layout (`blobs`); files
over 1 MiB are kept as content-defined chunks (`chunks`), so that similar files share what is equal. A version is an OCI
manifest with the media types of CNCF ModelPack (`modelpack`). It depends on nothing but the bundle's files: two
machines make the same digest of the same bundle.

`remote` copies versions to and from other OCI registries over HTTP. `session` opens a registry; the operations are
one module each: `push`, `pull`, `listing`, `aliases`, `moments`, `differences`, `collect`, `verify`.
"""
