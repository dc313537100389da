"""A thin Kubernetes client on aiohttp and msgspec: requests, watch caches, leader election, a work queue.

Every process of Stoker that runs in a cluster uses it. It knows the API's conventions and no kind of Stoker's.
"""
