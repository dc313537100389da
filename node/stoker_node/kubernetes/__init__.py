"""The node agent's adapters to Kubernetes: pods, kubelet, API server, operator. The agent itself knows none of them."""
