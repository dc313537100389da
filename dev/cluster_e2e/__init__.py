"""`make e2e-cluster`: the tests on a real Kubernetes."""
