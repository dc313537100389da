"""Where a cluster lives: names, addresses and the files of its nodes."""

import ipaddress
import json
import tomllib
from pathlib import Path

import msgspec
import pytest

from cluster import dns, node_config, start
from cluster.layout import MAX_INDEX, Layout, LayoutError, make_layout

pytestmark = pytest.mark.unit

HOME = Path("/home/someone/.local/state/stoker/cluster/default")


def layout(index: int = 0) -> Layout:
    return make_layout("default", index, 21640, HOME)


def test_clusters_of_different_index_share_no_subnet_port_or_interface() -> None:
    networks: list[ipaddress.IPv4Network] = []
    ports: list[int] = []
    interfaces: list[str] = []
    for index in range(MAX_INDEX + 1):
        each = layout(index)
        networks += [each.node_network, each.pod_network, each.service_network]
        ports += msgspec.structs.astuple(each.control_plane.ports)
        interfaces += [each.bridge, *(node.veth for node in each.nodes)]
    assert len({*ports}) == len(ports)
    assert len({*interfaces}) == len(interfaces)
    assert all(len(name) <= 15 for name in interfaces), "the kernel takes no longer names"
    assert all(network.is_private for network in networks)
    assert not any(a.overlaps(b) for number, a in enumerate(networks) for b in networks[:number])


def test_nodes_have_addresses_of_their_own_within_the_cluster() -> None:
    first, second = layout(3).nodes
    assert first.address != second.address
    assert first.pod_subnet != second.pod_subnet
    for node in (first, second):
        assert ipaddress.ip_address(node.address) in layout(3).node_network
        assert ipaddress.IPv4Network(node.pod_subnet).subnet_of(layout(3).pod_network)


def test_clusters_of_one_name_in_two_places_have_different_control_groups() -> None:
    other = make_layout("default", 0, 21640, HOME.with_name("other"))
    assert {node.cgroup for node in layout().nodes}.isdisjoint(node.cgroup for node in other.nodes)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 21, "ünicode"])
def test_a_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(LayoutError, match="letters, digits and dashes"):
        make_layout(name, 0, 21640, HOME)


@pytest.mark.parametrize("index", [-1, MAX_INDEX + 1])
def test_an_index_without_subnets_is_refused(index: int) -> None:
    with pytest.raises(LayoutError, match="index"):
        make_layout("default", index, 21640, HOME)


def test_a_directory_that_nodes_cover_with_their_own_is_refused() -> None:
    with pytest.raises(LayoutError, match="XDG_STATE_HOME"):
        make_layout("default", 0, 21640, Path("/var/lib/stoker/cluster"))


def test_a_directory_too_deep_for_unix_sockets_is_refused() -> None:
    with pytest.raises(LayoutError, match="too long"):
        make_layout("default", 0, 21640, Path("/home") / ("d" * 80))


def test_a_running_cluster_remembers_its_layout(tmp_path: Path) -> None:
    wanted = Layout("side", tmp_path, index=4, port_base=30000)
    assert start.saved(tmp_path) is None
    wanted.record.write_bytes(msgspec.json.encode(wanted, enc_hook=str))
    assert start.saved(tmp_path) == wanted
    wanted.record.write_bytes(b"{half")
    assert start.saved(tmp_path) is None


def test_the_files_of_a_node_can_be_read_and_point_into_its_own_network() -> None:
    each = layout(2)
    node = each.nodes[1]
    kubelet = json.loads(node_config.kubelet(each, node))
    assert kubelet["clusterDNS"] == [each.dns_address]
    assert kubelet["cgroupRoot"] == f"/{node.cgroup}"
    cni = json.loads(node_config.cni(node))
    assert cni["plugins"][0]["ipam"]["ranges"] == [[{"subnet": node.pod_subnet}]]
    assert json.loads(node_config.kube_proxy(each, node))["hostnameOverride"] == "node-b"
    assert tomllib.loads(node_config.containerd(node))["root"] == "/var/lib/containerd"


def test_dns_has_the_address_that_kubelets_give_to_pods() -> None:
    service = next(each for each in dns.manifests(layout(1)) if each["kind"] == "Service")
    assert service["spec"]["clusterIP"] == layout(1).dns_address
