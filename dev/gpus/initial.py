"""What a node's simulated GPUs are when they first appear: from the command line, and node by node from a file.

The file is JSON: node name to the same words as `gpus set` takes, as in
`{"node-a": {"gpus": 2, "shares": 4}, "node-b": {"gpus": 0}}`; `*` stands for every node that is not named.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gpus.changes import NODE_WORDS, apply
from gpus.state import BrokenState, NodeState, number, read, with_gpus, write

DEFAULTS: Mapping[str, str] = {
    "gpus": "2",
    "product": "NVIDIA-A100-SXM4-40GB",
    "memory": "40Gi",
    "shares": "1",
    "strategy": "time-slicing",
    "prefer": "spread",
}


def words_for(node: str, given: Mapping[str, str], nodes_file: Path | None) -> dict[str, str]:
    """The words of one node: defaults, then the command line, then the file. Raises BrokenState naming the file."""
    words = {**DEFAULTS, **given}
    if nodes_file is None:
        return words
    try:
        nodes = json.loads(nodes_file.read_text())
    except (OSError, ValueError) as err:
        raise BrokenState(f"{nodes_file} is not a JSON file of nodes: {err}") from None
    own = nodes.get(node, nodes.get("*", {})) if isinstance(nodes, dict) else None
    if not isinstance(own, dict) or not set(own) <= set(NODE_WORDS):
        raise BrokenState(f"{nodes_file}: node {node!r} is not an object with keys of {', '.join(NODE_WORDS)}")
    return words | {key: str(value) for key, value in own.items()}


def initial(node: str, words: Mapping[str, str]) -> NodeState:
    state = NodeState(node=node, product="NVIDIA", memory_mib=1)
    # The number comes last: GPUs are made like the product and memory that are set by then.
    first = apply(state, [f"{key}={value}" for key, value in words.items() if key != "gpus"])
    state = with_gpus(first, number("gpus", words["gpus"]))
    text = json.dumps([node, sorted(words.items())])
    return replace(state, origin=hashlib.sha256(text.encode()).hexdigest()[:16])


def settle(folder: Path, wanted: NodeState) -> NodeState:
    """The state to start with. A restart keeps what was changed since; other words, or a broken file, begin anew."""
    try:
        found = read(folder)
    except BrokenState:
        found = None
    if found is not None and found.origin == wanted.origin:
        return found
    if found is not None and found.events:
        # Waiting readers count on: numbers that begin at one again would be taken for old events.
        wanted = replace(wanted, events=found.events)
    write(folder, wanted)
    return wanted
