"""Forms that cross a process boundary: the CRDs, and what gateway and agent say to each other."""
