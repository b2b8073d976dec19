"""What bgpd is told, at its start and later."""

from pileus.base.config import BgpConfig
from pileus.drivers.network.linux.bgp import commands, configuration

BGP = BgpConfig(asn=65001, neighbours={"192.0.2.1": 65002, "2001:db8::1": 65003}, router_id="192.0.2.9")


def test_each_neighbour_hears_of_its_own_family_and_is_not_listened_to() -> None:
    four, six = configuration(BGP, ["203.0.113.9/32", "2001:db8:1::/56"]).split(" address-family ipv6 unicast\n")
    assert "router bgp 65001\n bgp router-id 192.0.2.9\n" in four
    assert " neighbor 192.0.2.1 remote-as 65002\n neighbor 2001:db8::1 remote-as 65003\n" in four
    assert "  neighbor 192.0.2.1 activate\n  neighbor 192.0.2.1 prefix-list nothing in\n" in four
    assert "  network 203.0.113.9/32\n" in four
    assert six == (
        "  neighbor 2001:db8::1 activate\n  neighbor 2001:db8::1 prefix-list nothing in\n"
        "  network 2001:db8:1::/56\n exit-address-family\n"
    )


def test_changes_are_told_without_a_restart() -> None:
    assert commands(BGP, ["203.0.113.9/32"], ["203.0.113.9/32"]) == []
    assert commands(BGP, ["203.0.113.9/32", "2001:db8:1::/56"], ["203.0.113.10/32", "2001:db8:1::/56"]) == [
        "configure terminal",
        "router bgp 65001",
        "address-family ipv4 unicast",
        "network 203.0.113.10/32",
        "no network 203.0.113.9/32",
        "exit-address-family",
    ]
