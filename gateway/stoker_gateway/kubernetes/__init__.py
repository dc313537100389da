"""The gateway's adapters to Kubernetes: where functions, agents and callers come from, and where demand goes."""
