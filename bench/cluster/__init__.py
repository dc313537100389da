"""`python -m bench.cluster NAME`: what the platform costs and carries on Kubernetes. Figures, not tests."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "dev"))  # the package `cluster`, which is a tool of developers and not installed
