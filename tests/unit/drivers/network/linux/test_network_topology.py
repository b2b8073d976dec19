"""Where a VPC's namespace sends packets, as values."""

from network_specs import interface, route_table, subnet, vpc

from pileus.drivers.network.linux.links import Link, Route, Rule
from pileus.drivers.network.linux.names import NEXT_HOP, NEXT_HOP6, peering_link, table_number, tap_name
from pileus.drivers.network.linux.topology import wanted
from pileus.hostapi.network_spec import NatGatewaySpec, PeeringSpec

TABLE = table_number("rtb-1")
PEERING = PeeringSpec(peering_id="pcx-1", requester="vpc-1", accepter="vpc-2")
NICS = (interface(5), interface(6, kind="nat"))


def routes(*given: tuple[str, ...], **other: object) -> set[Route]:
    """The routes of the table in a VPC with a guest eni-5, a NAT gateway nat-1 behind eni-6, and a peering."""
    nats = (NatGatewaySpec(nat_gateway_id="nat-1", interface_id="eni-6"),)
    spec = vpc((), *NICS, route_tables=(route_table(*given),), nat_gateways=nats, **other)
    return {route for route in wanted(spec, (PEERING,), "198.18.0.7").routes if route.table == TABLE}


def test_what_is_local_is_left_to_the_main_table_and_the_rest_is_a_black_hole() -> None:
    assert routes() == {
        Route("10.0.0.0/16", "", table=TABLE, thrown=True),
        Route("default", "", table=TABLE),
        Route("::/0", "", table=TABLE),
    }


def test_each_kind_of_target_has_its_link() -> None:
    found = routes(
        ("0.0.0.0/0", "internet", "igw-1"),
        ("192.0.2.0/24", "nat", "nat-1"),
        ("192.0.3.0/24", "interface", "eni-5"),
        ("10.2.0.0/16", "peering", "pcx-1"),
        ("203.0.113.254/32", "endpoint", "vpce-1"),
        ("::/0", "egress-only", "eigw-1"),
        ("2001:db8:1::/56", "interface", "eni-5"),
    )
    assert found >= {
        Route("default", "edge", NEXT_HOP, TABLE),
        Route("192.0.2.0/24", tap_name("eni-6"), "10.0.0.6", TABLE),
        Route("192.0.3.0/24", tap_name("eni-5"), "10.0.0.5", TABLE),
        Route("10.2.0.0/16", peering_link("pcx-1"), NEXT_HOP, TABLE),
        Route("203.0.113.254", "edge", NEXT_HOP, TABLE),
        Route("::/0", "edge", NEXT_HOP6, TABLE),
        Route("2001:db8:1::/56", tap_name("eni-5"), NEXT_HOP6, TABLE),
    }


def test_a_target_that_is_gone_is_a_black_hole() -> None:
    found = routes(
        ("0.0.0.0/0", "nat", "nat-9"),
        ("192.0.2.0/24", "interface", "eni-9"),
        ("10.2.0.0/16", "peering", "pcx-9"),
        ("192.0.4.0/24", "blackhole", "igw-1"),
    )
    gone = {"default", "192.0.2.0/24", "10.2.0.0/16", "192.0.4.0/24"}
    assert {route for route in found if route.destination in gone} == {Route(one, "", table=TABLE) for one in gone}


def test_the_main_table_knows_interfaces_and_nothing_beyond_the_vpc() -> None:
    rich = interface(5, prefixes=("10.0.1.0/28",), ipv6=("2001:db8::5",))
    spec = vpc((), rich, ipv6_cidrs=("2001:db8::/56",), subnets=(subnet(ipv6_cidr="2001:db8::/64"),))
    link = tap_name("eni-5")
    assert {route for route in wanted(spec, (), "198.18.0.7").routes if route.table == 254} == {
        Route("10.0.0.0/16", ""),
        Route("2001:db8::/56", ""),
        Route("10.0.0.5", link),
        Route("2001:db8::5", link),
        Route("10.0.1.0/28", link, "10.0.0.5"),
    }


def test_a_mark_leads_to_its_table_in_the_families_that_the_vpc_has() -> None:
    by_mark = Rule(100, f"fwmark {TABLE:#x}", TABLE)
    spec = vpc((), interface(5))
    assert {rule for rule in wanted(spec, (), "198.18.0.7").rules if rule.table == TABLE} == {by_mark}
    both = vpc((), interface(5), ipv6_cidrs=("2001:db8::/56",))
    rules = {rule for rule in wanted(both, (), "198.18.0.7").rules if rule.table == TABLE}
    assert rules == {by_mark, by_mark._replace(ipv6=True)}


def test_both_ends_of_a_peering_have_macs_of_their_own() -> None:
    ends = [
        next(link for link in wanted(vpc((), name=name), (PEERING,), "198.18.0.7").links if link.alias == "pcx-1")
        for name in ("vpc-1", "vpc-2")
    ]
    assert ends == [
        Link(peering_link("pcx-1"), "02:00:a9:fe:00:02", "pcx-1"),
        Link(peering_link("pcx-1"), "02:00:a9:fe:00:03", "pcx-1"),
    ]
