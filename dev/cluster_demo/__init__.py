"""`make demo-cluster`: installs Stoker on a real cluster and calls real models through their Service URLs."""
