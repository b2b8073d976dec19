"""What dnsmasq is told."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux.dnsmasq_files import configuration, leases, names
from pileus.hostapi.network_spec import (
    AddressSpec,
    DhcpSpec,
    HostEntry,
    InterfaceSpec,
    PublicDomainSpec,
    SubnetSpec,
    VpcSpec,
)

DIRECTORY = Path("/run/x")
SUBNET = SubnetSpec(subnet_id="subnet-1", cidr="10.0.0.0/20", route_table="rtb-1", acl="acl-1")
DHCP = DhcpSpec(domain="ec2.internal")


def interface(number: int, **other: object) -> InterfaceSpec:
    address = AddressSpec(address=f"10.0.0.{number}", names=(f"ip-10-0-0-{number}.ec2.internal",))
    values = {
        "interface_id": f"eni-{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "subnet": "subnet-1",
        "addresses": (address,),
        "groups": (),
        "hostname": f"ip-10-0-0-{number}",
    }
    return InterfaceSpec(**(values | other))


def vpc(*interfaces: InterfaceSpec, **other: object) -> VpcSpec:
    values = {
        "vpc_id": "vpc-1",
        "cidrs": ("10.0.0.0/16",),
        "domain": "ec2.internal",
        "dhcp": DHCP,
        "subnets": (SUBNET,),
        "route_tables": (),
        "acls": (),
        "groups": (),
        "interfaces": interfaces,
    }
    return VpcSpec(**(values | other))


def told(spec: VpcSpec, *upstream: str) -> list[str]:
    return configuration(spec, DIRECTORY, upstream).splitlines()


def options(**options: object) -> list[str]:
    lines = told(vpc(interface(5), dhcp=replace(DHCP, **options)))
    return [line for line in lines if line.startswith("dhcp-option=option:")]


def test_every_subnet_has_a_range_and_a_router_of_its_own() -> None:
    other = replace(SUBNET, subnet_id="subnet-2", cidr="10.0.16.0/20")
    lines = told(vpc(interface(5), subnets=(other, SUBNET)))
    assert [line for line in lines if line.startswith("dhcp-range")] == [
        "dhcp-range=set:net10.0.0.0-20,10.0.0.0,static,255.255.240.0,3600",
        "dhcp-range=set:net10.0.16.0-20,10.0.16.0,static,255.255.240.0,3600",
    ]
    assert "dhcp-option=tag:net10.0.16.0-20,option:router,10.0.16.1" in lines


def test_the_configuration_does_not_depend_on_who_has_which_address() -> None:
    assert told(vpc(interface(5))) == told(vpc(interface(6)))


def test_the_default_options_are_the_domain_and_the_vpcs_resolver() -> None:
    assert options() == [
        "dhcp-option=option:mtu,1500",
        "dhcp-option=option:dns-server,10.0.0.2",
        "dhcp-option=option:ntp-server",
        'dhcp-option=option:domain-name,"ec2.internal"',
    ]


def test_an_option_set_is_handed_out_whole() -> None:
    found = options(
        domain="corp.example lab.example",
        dns_servers=("10.0.0.9", "amazon"),
        ntp_servers=("169.254.169.123",),
        netbios_servers=("10.0.0.10", "10.0.0.11"),
        netbios_node_type=2,
    )
    assert found == [
        "dhcp-option=option:mtu,1500",
        "dhcp-option=option:dns-server,10.0.0.9,10.0.0.2",
        "dhcp-option=option:ntp-server,169.254.169.123",
        'dhcp-option=option:domain-name,"corp.example lab.example"',
        "dhcp-option=option:netbios-ns,10.0.0.10,10.0.0.11",
        "dhcp-option=option:netbios-nodetype,2",
    ]


def test_an_empty_option_set_hands_out_nothing() -> None:
    assert options(domain=None, dns_servers=()) == [
        "dhcp-option=option:mtu,1500",
        "dhcp-option=option:dns-server",
        "dhcp-option=option:ntp-server",
    ]


@pytest.mark.parametrize("changed", [{"domain": "a\nserver=1.2.3.4"}, {"dns_servers": ("1.2.3.4\nx",)}])
def test_options_can_not_smuggle_lines(changed: dict[str, object]) -> None:
    with pytest.raises(PermanentError):
        options(**changed)


def test_ipv6_comes_by_dhcp_and_the_router_is_the_way_to_everything() -> None:
    subnet = replace(SUBNET, ipv6_cidr="2001:db8:0:1::/64")
    servers = ("amazon", "10.0.0.9", "2001:db8::9")
    spec = vpc(subnets=(subnet,), dhcp=replace(DHCP, dns_servers=servers, ntp_servers=("fd00:ec2::123",)))
    lines = told(spec)
    assert "dhcp-range=2001:db8:0:1::,static,off-link,64,140" in lines
    assert "enable-ra" in lines
    assert "dhcp-option=option:dns-server,10.0.0.2,10.0.0.9" in lines
    assert "dhcp-option=option6:dns-server,[fd00:ec2::253],[2001:db8::9]" in lines
    assert "dhcp-option=option6:sntp-server,[fd00:ec2::123]" in lines
    assert "dhcp-option=option6:domain-search,ec2.internal" in lines


def test_without_ipv6_no_router_is_advertised() -> None:
    assert not any(
        line.startswith(("enable-ra", "ra-param", "dhcp-option=option6")) for line in told(vpc(interface(5)))
    )


def test_a_lease_names_mac_addresses_and_host_without_the_domain() -> None:
    spec = vpc(
        interface(5, ipv6=("2001:db8::5", "2001:db8::55")),
        interface(6, hostname="ip-10-0-0-6.ec2.internal"),
        interface(7, kind="nat"),
        interface(8, kind="endpoint"),
    )
    assert leases(spec) == (
        "02:00:00:00:00:05,10.0.0.5,[2001:db8::5],ip-10-0-0-5\n02:00:00:00:00:06,10.0.0.6,ip-10-0-0-6\n"
    )


def test_all_names_of_an_address_mean_the_private_one() -> None:
    public = AddressSpec(
        address="10.0.0.5", public="203.0.113.5", names=("one.internal",), public_names=("ec2-203-0-113-5.example.com",)
    )
    second = AddressSpec(address="10.0.0.6", names=("two.internal",))
    spec = vpc(
        interface(5, addresses=(public, second), ipv6=("2001:db8::5",), ipv6_names=("i-5.internal",)),
        interface(7, addresses=(AddressSpec(address="10.0.0.7"),)),
        hosts=(HostEntry(name="ec2.example.com", addresses=("10.0.0.20", "10.0.0.21")),),
    )
    assert names(spec) == (
        "10.0.0.5 one.internal ec2-203-0-113-5.example.com\n"
        "10.0.0.6 two.internal\n"
        "2001:db8::5 i-5.internal\n"
        "10.0.0.20 ec2.example.com\n"
        "10.0.0.21 ec2.example.com\n"
    )


def test_a_wildcard_is_a_domain() -> None:
    spec = vpc(hosts=(HostEntry(name="*.s3.example.com", addresses=("203.0.113.2", "203.0.113.3")),))
    lines = told(spec)
    assert [line for line in lines if "s3" in line] == [
        "address=/s3.example.com/203.0.113.2",
        "address=/s3.example.com/203.0.113.3",
    ]
    assert names(spec) == ""


def test_public_addresses_have_names_of_their_own() -> None:
    domain = PublicDomainSpec(domain="compute-1.amazonaws.com", cidr="203.0.113.0/24")
    assert "synth-domain=compute-1.amazonaws.com,203.0.113.0/24,ec2-" in told(vpc(public_domains=(domain,)))


def test_unknown_names_go_to_the_hosts_resolvers_only_where_there_are_some() -> None:
    spec = vpc(interface(5), ipv6_cidrs=("2001:db8:1:200::/56",))
    alone, joined = told(spec), told(spec, "192.0.2.53")
    assert "address=/#/" in alone
    assert "server=192.0.2.53" in joined
    assert "local=/ec2.internal/" in joined
    assert "local=/2.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa/" in joined
    assert "address=/#/" not in joined


def test_a_vpc_without_dns_only_hands_out_addresses() -> None:
    spec = vpc(interface(5), dns=False, hosts=(HostEntry(name="*.s3.example.com", addresses=("203.0.113.2",)),))
    lines = told(spec, "192.0.2.53")
    assert "port=0" in lines
    assert "dhcp-option=option:dns-server" in lines
    assert not any(line.startswith(("server=", "address=", "addn-hosts=")) for line in lines)
