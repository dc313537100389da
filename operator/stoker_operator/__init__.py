"""The operator: GpuFunctions to revisions, pods, Services and status."""
