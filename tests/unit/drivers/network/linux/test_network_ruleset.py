"""A VPC's rules as nftables tables."""

import pytest
from network_specs import group, interface, tcp, vpc

from pileus.drivers.network.linux import nft, ruleset
from pileus.drivers.network.linux.names import tap_name
from pileus.hostapi.spec import RuleSpec, VpcSpec


def chain(spec: VpcSpec, name: str) -> tuple[str, ...]:
    return ruleset.tables(spec)[0].chains[name].rules


def elements(spec: VpcSpec, name: str) -> dict[str, str]:
    return dict(ruleset.tables(spec)[0].elements[name].elements)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (RuleSpec(protocol="-1", cidr="0.0.0.0/0"), "accept"),
        (RuleSpec(protocol="-1", cidr="10.1.2.3/8"), "ip saddr 10.0.0.0/8 accept"),
        (tcp(22, cidr="0.0.0.0/0"), "tcp dport 22 accept"),
        (tcp(22, 25, cidr="192.0.2.0/24"), "ip saddr 192.0.2.0/24 tcp dport 22-25 accept"),
        (RuleSpec(protocol="6", from_port=0, to_port=65535, cidr="0.0.0.0/0"), "tcp dport 0-65535 accept"),
        (RuleSpec(protocol="udp", cidr="0.0.0.0/0"), "meta l4proto udp accept"),
        (RuleSpec(protocol="icmp", cidr="0.0.0.0/0"), "meta l4proto icmp accept"),
        (RuleSpec(protocol="icmp", from_port=3, to_port=4, cidr="0.0.0.0/0"), "icmp type 3 icmp code 4 accept"),
        (RuleSpec(protocol="1", from_port=8, cidr="0.0.0.0/0"), "icmp type 8 accept"),
        (RuleSpec(protocol="47", cidr="0.0.0.0/0"), "meta l4proto 47 accept"),
        (tcp(80, source="sg-b"), "ip saddr @members_sg_b tcp dport 80 accept"),
    ],
)
def test_a_rule_in_the_words_of_nftables(rule: RuleSpec, text: str) -> None:
    assert chain(vpc((group("sg-a", rule),)), "in_sg_a") == (text,)


@pytest.mark.parametrize("rule", [RuleSpec(protocol="-1", cidr="::/0"), RuleSpec(protocol="58", cidr="0.0.0.0/0")])
def test_rules_about_ipv6_say_nothing_about_ipv4(rule: RuleSpec) -> None:
    assert chain(vpc((group("sg-a", rule),)), "in_sg_a") == ()


def test_egress_rules_look_at_the_destination_and_go_on_to_the_receivers_groups() -> None:
    assert chain(vpc((group("sg-a", egress=(tcp(80, cidr="192.0.2.1/32"),)),)), "out_sg_a") == (
        "ip daddr 192.0.2.1/32 tcp dport 80 goto arrive",
    )


def test_several_groups_are_tried_one_after_the_other() -> None:
    spec = vpc((group("sg-a"), group("sg-b")), interface(5, "sg-b", "sg-a"), interface(6, "sg-a", "sg-b"))
    verdicts = elements(spec, "ingress")
    assert len(set(verdicts.values())) == 1, "the same groups have the same chain"
    union = verdicts[f'"{tap_name("eni-5")}"'].removeprefix("goto ")
    assert chain(spec, union) == ("jump in_sg_a", "jump in_sg_b")


def test_without_a_known_group_nothing_passes() -> None:
    spec = vpc((group("sg-a"),), interface(5), interface(6, "sg-unknown"))
    assert elements(spec, "ingress") == elements(spec, "egress") == {}


def test_a_reference_to_an_unknown_group_matches_nobody() -> None:
    spec = vpc((group("sg-a", tcp(80, source="sg-elsewhere")),))
    assert elements(spec, "members_sg_elsewhere") == {}


def test_addresses_are_translated_both_ways_for_those_on_the_internet_only() -> None:
    spec = vpc(
        (), interface(5, public="203.0.113.5"), interface(6, public="203.0.113.6", to_internet=False), interface(7)
    )
    assert elements(spec, "inward") == {"203.0.113.5": "10.0.0.5"}
    assert elements(spec, "outward") == {"10.0.0.5": "203.0.113.5"}
    assert elements(spec, "translated") == {"10.0.0.5": ""}


def test_a_tap_is_bound_to_its_mac_and_address_in_packets_and_in_arp() -> None:
    spec = vpc((), interface(5), interface(6, source_dest_check=False))
    packets, arp = ruleset.tables(spec)
    binding = f'"{tap_name("eni-5")}" . 02:00:00:00:00:05 . 10.0.0.5'
    assert binding in packets.elements["bindings"].elements
    assert packets.elements["bindings"] == arp.elements["bindings"]
    assert list(packets.elements["unchecked"].elements) == [f'"{tap_name("eni-6")}" . 02:00:00:00:00:06']


def test_equal_specs_have_equal_scripts_and_an_interface_more_costs_a_few_lines() -> None:
    groups = tuple(group(f"sg-{number}", *(tcp(port, cidr="10.0.0.0/8") for port in range(8))) for number in range(100))
    before = vpc(groups, *(interface(number, f"sg-{number}") for number in range(5, 100)))
    again = vpc(groups, *(interface(number, f"sg-{number}") for number in range(5, 100)))
    after = vpc(groups, *before.interfaces, interface(100, "sg-99", public="203.0.113.7"))
    assert nft.replace(ruleset.tables(before)) == nft.replace(ruleset.tables(again))
    script = "".join(
        nft.change(old, new) for old, new in zip(ruleset.tables(before), ruleset.tables(after), strict=True)
    )
    assert len(script.splitlines()) == 9
    assert all(line.startswith("add element") for line in script.splitlines())
