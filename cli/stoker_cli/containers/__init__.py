"""Replicas as containers of podman or docker, by their command lines (ADR 0012)."""
