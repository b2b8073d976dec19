"""What dnsmasq is told."""

from pathlib import Path

from network_specs import interface, vpc

from pileus.drivers.network.linux.dnsmasq import configuration, leases, names


def test_every_subnet_has_a_range_and_a_router_of_its_own() -> None:
    other = interface(9, subnet_cidr="10.0.16.0/20", private_address="10.0.16.9")
    lines = configuration(vpc((), interface(5), interface(6), other), Path("/run/x")).splitlines()
    assert [line for line in lines if line.startswith("dhcp-range")] == [
        "dhcp-range=set:net10.0.0.0-20,10.0.0.0,static,255.255.240.0,3600",
        "dhcp-range=set:net10.0.16.0-20,10.0.16.0,static,255.255.240.0,3600",
    ]
    assert "dhcp-option=tag:net10.0.16.0-20,option:router,10.0.16.1" in lines
    assert "dhcp-option=option:dns-server,10.0.0.2" in lines


def test_the_configuration_does_not_depend_on_who_has_which_address() -> None:
    directory = Path("/run/x")
    assert configuration(vpc((), interface(5)), directory) == configuration(vpc((), interface(6)), directory)


def test_a_lease_names_mac_address_and_host_without_the_domain() -> None:
    spec = vpc((), interface(5), interface(6, hostname="ip-10-0-0-6.ec2.internal"))
    assert leases(spec) == "02:00:00:00:00:05,10.0.0.5,ip-10-0-0-5\n02:00:00:00:00:06,10.0.0.6,ip-10-0-0-6\n"


def test_all_names_of_an_interface_mean_its_private_address() -> None:
    spec = vpc(
        (), interface(5, public="203.0.113.5", public_names=("ec2-203-0-113-5.example.com",)), interface(6, names=())
    )
    assert names(spec) == "10.0.0.5 ip-10-0-0-5.ec2.internal ec2-203-0-113-5.example.com\n"


def test_unknown_names_go_to_the_hosts_resolvers_only_where_there_are_some() -> None:
    spec = vpc((), interface(5))
    alone = configuration(spec, Path("/run/x")).splitlines()
    joined = configuration(spec, Path("/run/x"), ("192.0.2.53",)).splitlines()
    assert "address=/#/" in alone
    assert "server=192.0.2.53" in joined
    assert "local=/ec2.internal/" in joined
    assert "address=/#/" not in joined
