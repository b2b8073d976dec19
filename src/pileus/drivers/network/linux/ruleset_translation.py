"""Public and private addresses, 1:1, and who may reach what is beyond the edge."""

from pileus.drivers.network.linux.names import EDGE_LINK, table_number
from pileus.drivers.network.linux.nft import Chain
from pileus.drivers.network.linux.ruleset_parts import Parts, link, map_of, set_of
from pileus.hostapi.network_spec import VpcSpec


def public_addresses(vpc: VpcSpec) -> dict[str, str]:
    """Public → private address, where the VPC has a gateway to translate by."""
    if not (vpc.internet or vpc.carrier):
        return {}
    return {one.public: one.address for nic in vpc.interfaces for one in nic.addresses if one.public is not None}


def internet6(vpc: VpcSpec) -> list[str]:
    """The links of interfaces to which connections over IPv6 may begin outside: whose subnet has a route to it both ways."""
    if not vpc.internet:
        return []
    tables = {
        table.route_table_id
        for table in vpc.route_tables
        for route in table.routes
        if route.kind == "internet" and ":" in route.destination
    }
    subnets = {subnet.subnet_id for subnet in vpc.subnets if subnet.route_table in tables}
    return [link(nic) for nic in vpc.interfaces if nic.subnet in subnets]


def parts(vpc: VpcSpec) -> Parts:
    """The maps of public addresses, the routes to gateway endpoints, and the chains that translate."""
    inward = public_addresses(vpc)
    endpoints = {
        f"{table_number(table.route_table_id):#x} . {route.destination}"
        for table in vpc.route_tables
        for route in table.routes
        if route.kind == "endpoint" and ":" not in route.destination
    }
    return Parts(
        elements={
            "translated": set_of("ipv4_addr", inward.values()),
            "inward": map_of("ipv4_addr : ipv4_addr", inward),
            "outward": map_of("ipv4_addr : ipv4_addr", {private: public for public, private in inward.items()}),
            "gateway_endpoints": set_of("mark . ipv4_addr", sorted(endpoints), interval=True),
        },
        chains=_CHAINS,
    )


_CHAINS = {
    "translate_in": Chain(
        hook="type nat hook prerouting priority dstnat;",
        rules=(f'iifname "{EDGE_LINK}" dnat ip to ip daddr map @inward',),
    ),
    "translate_out": Chain(
        hook="type nat hook postrouting priority srcnat;",
        rules=(
            # What goes to a gateway endpoint has an address of the namespace, which answers find their way back to.
            f'oifname "{EDGE_LINK}" meta mark . ip daddr @gateway_endpoints masquerade',
            f'oifname "{EDGE_LINK}" snat ip to ip saddr map @outward',
        ),
    ),
}
