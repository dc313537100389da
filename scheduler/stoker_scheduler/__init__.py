"""The extender of kube-scheduler: on which node a replica is served soonest."""
