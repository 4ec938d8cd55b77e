"""Kustomize manifests for Kubernetes."""
