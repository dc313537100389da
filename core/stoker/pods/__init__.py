"""From a GpuFunction to Kubernetes objects, as plain JSON data: the one allowlisted builder of pods (DESIGN 3)."""
