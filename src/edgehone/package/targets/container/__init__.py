"""The target `container`: an OCI image that serves the bundle on port 8080, built by buildah without Docker."""
