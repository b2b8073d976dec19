"""Derived names, and the checks on what a spec brings in."""

import ipaddress

import pytest
from network_specs import group, interface, tcp, vpc

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.names import check, check_cloud, gateway, pools, resolvers, tap_name, veth_name
from pileus.hostapi.spec import NetworkSpec, VpcSpec

POOL = (ipaddress.IPv4Network("203.0.113.0/24"),)


def test_links_have_names_that_the_kernel_takes_and_that_differ() -> None:
    assert len({tap_name(f"eni-{number}") for number in range(1000)}) == 1000
    assert max(len(tap_name("eni-0123456789abcdef0")), len(veth_name("vpc-0123456789abcdef0"))) <= 15


def test_addresses_are_where_ec2_has_them() -> None:
    spec = vpc((), interface(5, subnet_cidr="10.0.16.0/20"))
    assert gateway(spec.interfaces[0]) == "10.0.16.1"
    assert resolvers(spec) == ("10.0.0.2", "169.254.169.253")


@pytest.mark.parametrize("name", ["", "Pileus", "a-b", "elevenchars", "1a", "a b"])
def test_a_clouds_name_must_fit_into_a_links_name(name: str) -> None:
    with pytest.raises(PermanentError):
        check_cloud(name)


@pytest.mark.parametrize("cidr", ["203.0.113.0/30", "203.0.113.1/24", "2001:db8::/64", "everything"])
def test_a_pool_must_be_an_ipv4_network_of_some_size(cidr: str) -> None:
    with pytest.raises(PermanentError):
        pools([cidr])


def test_a_sound_spec_passes() -> None:
    check(
        NetworkSpec(vpcs=(vpc((group("sg-a", tcp(80, source="sg-b")),), interface(5, "sg-a", public="203.0.113.5")),)),
        POOL,
    )


@pytest.mark.parametrize(
    "bad",
    [
        vpc((), interface(5, public="198.51.100.1")),
        vpc((), interface(5, public="203.0.113.1")),
        vpc((), interface(5, public="203.0.113.2")),
        vpc((), interface(5, public="203.0.113.255")),
        vpc((), interface(5), interface(6, private_address="10.0.0.5")),
        vpc((), interface(5, public="203.0.113.5"), interface(6, public="203.0.113.5")),
        vpc((), interface(3)),
        vpc((), interface(5, private_address="10.1.0.5")),
        vpc((), interface(5, subnet_cidr="10.1.0.0/20", private_address="10.1.0.5")),
        vpc((), interface(5, mac="02:00:00:00:00:05\nadd")),
        vpc((), interface(5, interface_id="eni-5; reboot")),
        vpc((), interface(5, hostname="a\nb")),
        vpc((), interface(5, names=("a b",))),
        vpc((), interface(5, "sg-a }")),
        vpc((group("sg a"),)),
        vpc((group("sg-a", tcp(80, cidr="10.0.0.0/8 accept")),)),
        vpc((group("sg-a", tcp(80, source="sg-b accept")),)),
        vpc((group("sg-a", members=("10.0.0.5 }",)),)),
        vpc((), name="vpc-1/../x"),
        vpc((), name="edge"),
    ],
)
def test_what_is_malformed_or_contradictory_is_refused(bad: VpcSpec) -> None:
    with pytest.raises(PermanentError):
        check(NetworkSpec(vpcs=(bad,)), POOL)
