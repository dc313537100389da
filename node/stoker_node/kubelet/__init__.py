"""What the agent asks the kubelet of its own node."""
