"""The control plane's decisions: from functions, demand and devices to the replicas that should be: plan()."""
