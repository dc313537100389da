"""`make e2e-cluster`: the tests on a real Kubernetes, with everything that they need brought up and taken down."""
