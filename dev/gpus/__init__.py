"""Simulated GPUs behind the real interfaces: libnvidia-ml.so.1 in C, and a device plugin for the kubelet.

`PYTHONPATH=dev python -m gpus --help`. One state file for each node says what its GPUs are and how they fare; the
library and the plugin follow it live. Imports nothing of Stoker: it stands where NVIDIA's driver and plugin stand.
"""
