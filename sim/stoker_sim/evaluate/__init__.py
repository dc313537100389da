"""The figures of DESIGN 7 from a workload and what became of it, and their intervals over seeds."""
