"""Interfaces of guests that still run outlast the spec that drops them."""

from hypothesis import given
from hypothesis import strategies as st

from pileus.agent.networking import keep_interfaces
from pileus.hostapi.spec import GroupSpec, InterfaceSpec, NetworkSpec, VpcSpec


def network(layout: dict[str, list[str]], generation: str = "new") -> NetworkSpec:
    """VPC id → interface ids; each interface is in the group ``sg-<interface>``, which its VPC has."""
    return NetworkSpec(
        vpcs=tuple(
            VpcSpec(
                vpc_id=vpc_id,
                cidrs=("10.0.0.0/16",),
                domain=generation,
                groups=tuple(GroupSpec(group_id=f"sg-{one}", ingress=(), egress=()) for one in interfaces),
                interfaces=tuple(
                    InterfaceSpec(
                        interface_id=one,
                        mac="06:00:00:00:00:01",
                        private_address="10.0.0.4",
                        subnet_cidr="10.0.0.0/24",
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
        assert (vpc.domain == "new") == (vpc.vpc_id in wanted)


def test_nothing_is_held_without_need() -> None:
    spec = network({"vpc-1": ["eni-1"]})
    assert keep_interfaces(spec, network({"vpc-1": ["eni-2"]}), frozenset()) is spec
    assert keep_interfaces(spec, NetworkSpec(), frozenset({"eni-9"})) is spec
