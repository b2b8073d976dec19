"""Derived names."""

import pytest
from network_specs import interface, subnet, vpc

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.names import (
    gateway,
    owned,
    peering_link,
    pools,
    resolvers,
    subnets,
    table_number,
    tap_name,
    veth_name,
)


def test_links_have_names_that_the_kernel_takes_and_that_differ() -> None:
    assert len({tap_name(f"eni-{number}") for number in range(1000)}) == 1000
    names = tap_name("eni-0123456789abcdef0"), veth_name("vpc-0123456789abcdef0"), peering_link("pcx-0123456789abcdef0")
    assert max(map(len, names)) <= 15


def test_addresses_are_where_ec2_has_them() -> None:
    spec = vpc((), interface(5, subnet="10.0.16.0/20"))
    assert gateway(subnets(spec)[spec.interfaces[0].subnet]) == "10.0.16.1"
    assert resolvers(spec) == ("10.0.0.2", "169.254.169.253")
    assert gateway(subnet("10.1.0.0/24")) == "10.1.0.1"


def test_an_interface_owns_its_addresses_and_prefixes() -> None:
    nic = interface(5, ipv6=("2001:db8::5",), prefixes=("10.0.1.0/28",))
    assert owned(nic) == ("10.0.0.5", "2001:db8::5", "10.0.1.0/28")


def test_a_route_tables_number_is_a_mark_that_no_table_of_others_has() -> None:
    numbers = {table_number(f"rtb-{number:017x}") for number in range(1000)}
    assert len(numbers) == 1000
    assert min(numbers) >= 1000
    assert max(numbers) < 1 << 31


@pytest.mark.parametrize("cidr", ["198.18.0.0/15", "198.19.7.0/24", "198.0.0.0/8"])
def test_a_pool_has_none_of_the_addresses_between_vpcs_and_the_host(cidr: str) -> None:
    with pytest.raises(PermanentError, match="overlaps"):
        pools([cidr])


@pytest.mark.parametrize("cidr", ["203.0.113.0/30", "203.0.113.1/24", "2001:db8::/64", "everything"])
def test_a_pool_must_be_an_ipv4_network_of_some_size(cidr: str) -> None:
    with pytest.raises(PermanentError):
        pools([cidr])
