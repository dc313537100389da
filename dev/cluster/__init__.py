"""A real two-node Kubernetes on one Linux machine, without Docker, for developing and testing Stoker.

`python -m cluster up` (with dev/ on PYTHONPATH) is what `make cluster` runs. Nothing here is shipped: the product
must not know that this cluster exists, and this cluster knows of the product only the images that it loads.
"""
