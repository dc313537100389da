"""Loaders: one module per format of a trace, each giving a Workload or raising BadTrace."""
