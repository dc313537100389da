"""What the environment tells the tests themselves. Taken out of it: a process under test refuses a STOKER_* variable
that it does not know, and inherits all that is left.
"""

import os

REQUIRE_CLUSTER = os.environ.pop("STOKER_REQUIRE_CLUSTER", "") == "1"
"""Tests that want real programs or a cluster fail where those are not there, instead of being skipped."""
EXPLORE = bool(os.environ.pop("STOKER_EXPLORE", ""))
"""Property tests draw new examples."""
GOLDEN = os.environ.pop("STOKER_GOLDEN", "") == "1"
"""Golden files are rewritten."""
KUBELET_DIR = os.environ.pop("STOKER_KUBELET_DIR", None)
"""The folder that a real kubelet has at /var/lib/kubelet."""
E2E_NAMESPACE = os.environ.pop("STOKER_E2E_NAMESPACE", "stoker-system")
"""Where Stoker is on the cluster under test."""


def examples(everyday: int) -> int:
    """How many examples a slow property test draws: so many every day, five times as many in `make explore`."""
    return 5 * everyday if EXPLORE else everyday
