"""The checks on what a spec brings in."""

import ipaddress

import pytest
from msgspec.structs import replace
from network_specs import INTERNET, group, interface, network, route_table, subnet, tcp, vpc

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.checks import check, check_cloud
from pileus.hostapi.network_spec import (
    AddressSpec,
    DhcpSpec,
    EndpointSpec,
    NatGatewaySpec,
    NetworkSpec,
    PeeringSpec,
    ServiceSpec,
    VpcSpec,
)

POOL = (ipaddress.IPv4Network("203.0.113.0/24"),)
SIX = {"ipv6_cidrs": ("2001:db8::/56",), "subnets": (subnet(ipv6_cidr="2001:db8::/64"),)}


@pytest.mark.parametrize("name", ["", "Pileus", "a-b", "elevenchars", "1a", "a b"])
def test_a_clouds_name_must_fit_into_a_links_name(name: str) -> None:
    with pytest.raises(PermanentError):
        check_cloud(name)


def test_a_sound_spec_passes() -> None:
    rich = interface(6, ipv6=("2001:db8::5",), prefixes=("10.0.1.0/28", "2001:db8::1:0:0:0/80"))
    one = vpc((group("sg-a", tcp(80, source="sg-b")),), interface(5, "sg-a", public="203.0.113.5"), rich, **SIX)
    nat = interface(7, kind="nat")
    two = vpc((), nat, name="vpc-2", nat_gateways=(NatGatewaySpec(nat_gateway_id="nat-1", interface_id="eni-7"),))
    peering = PeeringSpec(peering_id="pcx-1", requester="vpc-1", accepter="vpc-2")
    check(network(one, two, peerings=(peering,), services=(ServiceSpec(service="api", address="203.0.113.3"),)), POOL)
    check(NetworkSpec(vpcs=(one,)), POOL)


@pytest.mark.parametrize(
    "bad",
    [
        vpc((), interface(5, public="198.51.100.1")),
        vpc((), interface(5, public="203.0.113.0")),
        vpc((), interface(5, public="203.0.113.1")),
        vpc((), interface(5, public="203.0.113.2")),
        vpc((), interface(5, public="203.0.113.255")),
        vpc((), interface(5), interface(5, interface_id="eni-6")),
        vpc((), interface(5, public="203.0.113.5"), interface(6, public="203.0.113.5")),
        vpc((), interface(3)),
        vpc((), interface(5, addresses=())),
        vpc((), interface(5, addresses=(AddressSpec(address="10.1.0.5"),))),
        vpc((), interface(5, subnet="10.1.0.0/20")),
        vpc((), interface(5, ipv6=("2001:db8::5",))),
        vpc((), interface(5, ipv6=("2001:db8:1::5",)), **SIX),
        vpc((), interface(5, prefixes=("10.0.16.0/28",))),
        vpc((), interface(5, mac="02:00:00:00:00:05\nadd")),
        vpc((), interface(5, interface_id="eni-5; reboot")),
        vpc((), interface(5, hostname="a\nb")),
        vpc((), interface(5, addresses=(AddressSpec(address="10.0.0.5", names=("a b",)),))),
        vpc((), interface(5, "sg-a }")),
        vpc((), interface(5), subnets=(subnet(table="rtb-9"),)),
        vpc((), interface(5), subnets=()),
        vpc((), route_tables=(INTERNET, route_table(("0.0.0.0/0; reboot", "internet"), name="rtb-2"))),
        vpc((), route_tables=(route_table(("0.0.0.0/0", "interface", "eni 5")),)),
        vpc((group("sg a"),)),
        vpc((group("sg-a", tcp(80, cidr="10.0.0.0/8 accept")),)),
        vpc((group("sg-a", tcp(80, source="sg-b accept")),)),
        vpc((group("sg-a", replace(tcp(80), protocol="tcp accept")),)),
        vpc((group("sg-a", members=("10.0.0.5 }",)),)),
        vpc((), dhcp=DhcpSpec(domain="a\nb")),
        vpc((), dhcp=DhcpSpec(domain=None, dns_servers=("192.0.2.1\nx",))),
        vpc((), nat_gateways=(NatGatewaySpec(nat_gateway_id="nat-1", interface_id="eni-7"),)),
        vpc((), interface(5), endpoints=(EndpointSpec(endpoint_id="vpce-1", service="api", interfaces=("eni-5",)),)),
        vpc((), name="vpc-1/../x"),
        vpc((), name="edge"),
    ],
)
def test_what_is_malformed_or_contradictory_is_refused(bad: VpcSpec) -> None:
    with pytest.raises(PermanentError):
        check(network(bad), POOL)


@pytest.mark.parametrize(
    "bad",
    [
        network(services=(ServiceSpec(service="api", address="203.0.113.1"),)),
        network(services=(ServiceSpec(service="api", address="everywhere"),)),
        network(ipv6_pools=("2001:db8::1/36",)),
        network(vpc(()), peerings=(PeeringSpec(peering_id="pcx-1", requester="vpc-1", accepter="vpc-1"),)),
        network(vpc(()), peerings=(PeeringSpec(peering_id="pcx-1", requester="vpc-1", accepter="vpc-2"),)),
    ],
)
def test_what_contradicts_itself_as_a_whole_is_refused(bad: NetworkSpec) -> None:
    with pytest.raises(PermanentError):
        check(bad, POOL)
