"""Interfaces of guests that still run outlast the spec that drops them."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pileus.agent.networking import keep_interfaces
from pileus.hostapi.network_spec import (
    AclSpec,
    AddressSpec,
    DhcpSpec,
    GroupSpec,
    InterfaceSpec,
    NetworkSpec,
    RouteTableSpec,
    SubnetSpec,
    VpcSpec,
)


def network(layout: dict[str, list[str]], generation: str = "new") -> NetworkSpec:
    """VPC id → interface ids; each interface has a group, a subnet, a route table and an ACL of its own, and an address."""
    return NetworkSpec(
        vpcs=tuple(
            VpcSpec(
                vpc_id=vpc_id,
                cidrs=("10.0.0.0/16",),
                domain=generation,
                dhcp=DhcpSpec(domain=generation),
                subnets=tuple(
                    SubnetSpec(
                        subnet_id=f"subnet-{one}", cidr="10.0.0.0/24", route_table=f"rtb-{one}", acl=f"acl-{one}"
                    )
                    for one in interfaces
                ),
                route_tables=tuple(RouteTableSpec(route_table_id=f"rtb-{one}", routes=()) for one in interfaces),
                acls=tuple(AclSpec(acl_id=f"acl-{one}") for one in interfaces),
                groups=tuple(GroupSpec(group_id=f"sg-{one}", ingress=(), egress=()) for one in interfaces),
                interfaces=tuple(
                    InterfaceSpec(
                        interface_id=one,
                        mac="06:00:00:00:00:01",
                        addresses=(
                            AddressSpec(address=f"10.0.0.{one.removeprefix('eni-')}", public=f"203.0.113.{one}"),
                        ),
                        subnet=f"subnet-{one}",
                        groups=(f"sg-{one}",),
                        hostname=generation,
                    )
                    for one in interfaces
                ),
            )
            for vpc_id, interfaces in layout.items()
        )
    )


def hostnames(spec: NetworkSpec) -> dict[str, str]:
    return {one.interface_id: one.hostname for vpc in spec.vpcs for one in vpc.interfaces}


layouts = st.dictionaries(st.integers(0, 15), st.integers(0, 2), max_size=6).map(
    lambda places: {
        f"vpc-{vpc}": sorted(f"eni-{one}" for one, place in places.items() if place == vpc)
        for vpc in set(places.values())
    }
)


@given(layouts, layouts, st.frozensets(st.integers(0, 15).map(lambda one: f"eni-{one}")))
def test_what_is_held_stays_as_it_was_and_all_else_is_as_wanted(
    wanted: dict[str, list[str]], before: dict[str, list[str]], held: frozenset[str]
) -> None:
    spec, previous = network(wanted), network(before, "old")
    kept = keep_interfaces(spec, previous, held)
    names = hostnames(kept)
    assert names == {**dict.fromkeys(held & hostnames(previous).keys(), "old"), **hostnames(spec)}
    vpc_ids = [vpc.vpc_id for vpc in kept.vpcs]
    assert len(vpc_ids) == len(set(vpc_ids))
    for vpc in kept.vpcs:
        groups = [group.group_id for group in vpc.groups]
        assert len(groups) == len(set(groups))
        assert {group for one in vpc.interfaces for group in one.groups} <= set(groups)
        subnets = {subnet.subnet_id: subnet for subnet in vpc.subnets}
        assert len(subnets) == len(vpc.subnets)
        assert {one.subnet for one in vpc.interfaces} <= subnets.keys()
        assert {one.route_table for one in vpc.subnets} == {one.route_table_id for one in vpc.route_tables}
        assert {one.acl for one in vpc.subnets} == {one.acl_id for one in vpc.acls}
        assert (vpc.domain == "new") == (vpc.vpc_id in wanted)


def test_nothing_is_held_without_need() -> None:
    spec = network({"vpc-1": ["eni-1"]})
    assert keep_interfaces(spec, network({"vpc-1": ["eni-2"]}), frozenset()) is spec
    assert keep_interfaces(spec, NetworkSpec(), frozenset({"eni-9"})) is spec


def test_what_others_were_given_meanwhile_is_theirs() -> None:
    before = network({"vpc-1": ["eni-1"]}, "old")
    now = network({"vpc-1": ["eni-2"]})
    mine = before.vpcs[0].interfaces[0]
    others = now.vpcs[0].interfaces[0]

    def kept(**changes: object) -> dict[str, InterfaceSpec]:
        vpc = replace(now.vpcs[0], interfaces=(replace(others, **changes),))
        spec = keep_interfaces(replace(now, vpcs=(vpc,)), before, frozenset({"eni-1"}))
        return {one.interface_id: one for one in spec.vpcs[0].interfaces}

    public = kept(addresses=(AddressSpec(address="10.0.0.2", public=mine.addresses[0].public),))
    assert public["eni-1"].addresses == (AddressSpec(address="10.0.0.1"),)
    assert "eni-1" not in kept(addresses=(AddressSpec(address="10.0.0.1"),))
