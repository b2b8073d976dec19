"""A VPC's rules as nftables tables."""

import re

import pytest
from network_specs import group, interface, route_table, subnet, tcp, vpc

from pileus.drivers.network.linux import nft, ruleset
from pileus.drivers.network.linux.names import table_number, tap_name
from pileus.hostapi.network_spec import AclEntrySpec, AclSpec, CaptureSpec, PrefixListSpec, RuleSpec, VpcSpec

ANY, ANY6 = "0.0.0.0/0", "::/0"


def chain(spec: VpcSpec, name: str) -> tuple[str, ...]:
    return ruleset.tables(spec)[0].chains[name].rules


def elements(spec: VpcSpec, name: str) -> dict[str, str]:
    return dict(ruleset.tables(spec)[0].elements[name].elements)


def link(number: int) -> str:
    return f'"{tap_name(f"eni-{number}")}"'


def script(before: VpcSpec, after: VpcSpec) -> list[str]:
    pairs = zip(ruleset.tables(before), ruleset.tables(after), strict=True)
    return "".join(nft.change(old, new) for old, new in pairs).splitlines()


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (RuleSpec(protocol="-1", cidr=ANY), "meta nfproto ipv4 goto open_in"),
        (RuleSpec(protocol="-1", cidr=ANY6), "meta nfproto ipv6 goto open_in"),
        (RuleSpec(protocol="-1", cidr="10.1.2.3/8"), "ip saddr 10.0.0.0/8 goto finish"),
        (tcp(22, cidr=ANY), "meta nfproto ipv4 tcp dport 22 goto open_in"),
        (tcp(22, cidr="2001:db8::/32"), "ip6 saddr 2001:db8::/32 tcp dport 22 goto finish"),
        (tcp(22, 25, cidr="192.0.2.0/24"), "ip saddr 192.0.2.0/24 tcp dport 22-25 goto finish"),
        (
            RuleSpec(protocol="6", from_port=0, to_port=65535, cidr=ANY),
            "meta nfproto ipv4 tcp dport 0-65535 goto open_in",
        ),
        (RuleSpec(protocol="udp", cidr=ANY), "meta nfproto ipv4 meta l4proto udp goto open_in"),
        (RuleSpec(protocol="icmp", cidr=ANY), "meta nfproto ipv4 meta l4proto icmp goto finish"),
        (
            RuleSpec(protocol="icmp", from_port=3, to_port=4, cidr=ANY),
            "meta nfproto ipv4 icmp type 3 icmp code 4 goto finish",
        ),
        (RuleSpec(protocol="1", from_port=8, cidr="10.0.0.1/32"), "ip saddr 10.0.0.1 icmp type 8 goto finish"),
        (RuleSpec(protocol="58", from_port=128, cidr=ANY6), "meta nfproto ipv6 icmpv6 type 128 goto finish"),
        (RuleSpec(protocol="47", cidr=ANY), "meta nfproto ipv4 meta l4proto 47 goto finish"),
        (tcp(80, source="sg-b"), "ip saddr @members4_sg_b tcp dport 80 goto finish"),
        (RuleSpec(protocol="-1", prefix_list="pl-1"), "ip saddr @list4_pl_1 goto finish"),
    ],
)
def test_a_rule_in_the_words_of_nftables(rule: RuleSpec, text: str) -> None:
    rules = chain(vpc((group("sg-a", rule),), ipv6_cidrs=("2001:db8::/56",)), "in_sg_a")
    assert re.sub("_[0-9a-f]{16} ", " ", rules[0]) == text


def test_each_family_has_an_icmp_of_its_own() -> None:
    rules = RuleSpec(protocol="58", cidr=ANY), RuleSpec(protocol="icmp", cidr=ANY6)
    assert chain(vpc((group("sg-a", *rules),), ipv6_cidrs=("2001:db8::/56",)), "in_sg_a") == ()


def test_egress_rules_look_at_the_destination_and_go_on_to_the_receiver() -> None:
    spec = vpc((group("sg-a", egress=(tcp(80, cidr="192.0.2.1/32"),)),))
    assert chain(spec, "out_sg_a") == ("ip daddr 192.0.2.1 tcp dport 80 goto cross",)


def test_several_groups_are_tried_one_after_the_other() -> None:
    spec = vpc((group("sg-a"), group("sg-b")), interface(5, "sg-b", "sg-a"), interface(6, "sg-a", "sg-b"))
    verdicts = elements(spec, "ingress")
    assert len(set(verdicts.values())) == 1, "the same groups have the same chain"
    union = verdicts[link(5)].removeprefix("goto ")
    assert chain(spec, union) == ("jump in_sg_a", "jump in_sg_b", "goto refuse_in")


def test_without_a_known_group_nothing_passes() -> None:
    spec = vpc((group("sg-a"),), interface(5), interface(6, "sg-unknown"))
    assert elements(spec, "ingress") == elements(spec, "egress") == {}


def test_members_and_prefix_lists_are_sets_without_overlaps() -> None:
    spec = vpc(
        (
            group(
                "sg-a", tcp(80, source="sg-b"), tcp(80, source="sg-gone"), RuleSpec(protocol="-1", prefix_list="pl-1")
            ),
            group("sg-b", members=("10.0.0.5", "10.0.0.4", "10.0.1.0/28", "10.0.1.3", "2001:db8::5")),
        ),
        prefix_lists=(PrefixListSpec(prefix_list_id="pl-1", cidrs=("192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32")),),
    )
    made = ruleset.tables(spec)[0].elements
    sets = {name.rpartition("_")[0]: set(value.elements) for name, value in made.items()}
    assert sets["members4_sg_b"] == {"10.0.0.4/31", "10.0.1.0/28"}
    assert sets["members6_sg_b"] == {"2001:db8::5"}
    assert sets["members4_sg_gone"] == set()
    assert sets["list4_pl_1"] == {"192.0.2.0/24"}
    assert sets["list6_pl_1"] == {"2001:db8::/32"}


def test_rules_go_over_to_another_set_when_members_change() -> None:
    def rule(*members: str) -> str:
        return chain(vpc((group("sg-a", tcp(80, source="sg-b")), group("sg-b", members=members))), "in_sg_a")[0]

    assert rule("10.0.0.5") == rule("10.0.0.5") != rule("10.0.0.6")


def test_addresses_are_translated_both_ways_where_there_is_a_gateway() -> None:
    nics = interface(5, public="203.0.113.5"), interface(7)
    spec = vpc((), *nics)
    assert elements(spec, "inward") == ruleset.public_addresses(spec) == {"203.0.113.5": "10.0.0.5"}
    assert elements(spec, "outward") == {"10.0.0.5": "203.0.113.5"}
    assert elements(vpc((), *nics, internet=False), "inward") == {}
    assert elements(vpc((), *nics, internet=False, carrier=True), "inward") == {"203.0.113.5": "10.0.0.5"}


def test_a_link_is_bound_to_its_mac_addresses_and_prefixes() -> None:
    spec = vpc(
        (),
        interface(5, ipv6=("2001:db8::5",), prefixes=("10.0.1.0/28", "2001:db8:0:0:1::/80")),
        interface(6, source_dest_check=False),
        interface(7, kind="nat"),
    )
    packets, arp = ruleset.tables(spec)
    binding = f"{link(5)} . 02:00:00:00:00:05"
    assert f"{binding} . 10.0.0.5" in packets.elements["bindings4"].elements
    assert list(packets.elements["bindings6"].elements) == [f"{binding} . 2001:db8::5"]
    assert list(packets.elements["delegated4"].elements) == [f"{binding} . 10.0.1.0/28"]
    assert list(packets.elements["delegated6"].elements) == [f"{binding} . 2001:db8:0:0:1::/80"]
    assert packets.elements["bindings4"] == arp.elements["bindings4"]
    assert len(packets.elements["unchecked"].elements) == 2
    assert list(packets.elements["forwarders"].elements) == [link(6)]


def test_a_packet_is_marked_with_its_subnets_route_table() -> None:
    tables = route_table(name="rtb-1"), route_table(name="rtb-2")
    subnets = subnet(), subnet("10.0.16.0/20", "rtb-2")
    nics = interface(5), interface(6, subnet="10.0.16.0/20", interface_id="eni-6")
    spec = vpc((), *nics, subnets=subnets, route_tables=tables)
    assert elements(spec, "marks") == {
        link(5): f"{table_number('rtb-1'):#x}",
        link(6): f"{table_number('rtb-2'):#x}",
    }


def test_an_acl_that_allows_everything_costs_nothing() -> None:
    assert elements(vpc((), interface(5)), "acl_in") == elements(vpc((), interface(5)), "acl_out") == {}


def test_acl_entries_stand_in_order_behind_the_subnets_border() -> None:
    entries = (
        AclEntrySpec(allow=False, protocol="6", cidr="192.0.2.0/24", from_port=22, to_port=22),
        AclEntrySpec(allow=True, protocol="-1", cidr=ANY),
        AclEntrySpec(allow=True, protocol="58", cidr=ANY6, from_port=128, to_port=0),
    )
    spec = vpc((), interface(5), acls=(AclSpec(acl_id="acl-1", ingress=entries),))
    (verdict,) = elements(spec, "acl_in").values()
    name = verdict.removeprefix("jump ")
    assert chain(spec, name)[0] == f"iifname @{name.replace('acl_in', 'links')} return"
    assert chain(spec, "list_in_acl_1") == (
        "ip saddr 192.0.2.0/24 tcp dport 22 goto refuse_in",
        "meta nfproto ipv4 return",
        "meta nfproto ipv6 icmpv6 type 128 icmpv6 code 0 return",
        "goto refuse_in",
    )
    assert chain(spec, "list_out_acl_1") == ("goto refuse_out",)


def test_connections_are_untracked_where_everything_is_allowed_back() -> None:
    everything = RuleSpec(protocol="-1", cidr=ANY)
    groups = group("sg-a", tcp(80, cidr=ANY)), group("sg-b", everything, egress=(tcp(0, 65535, cidr=ANY),))
    spec = vpc(groups, interface(5, "sg-a"), interface(6, "sg-b"))
    assert set(elements(spec, "open_out4")) == {f"{link(5)} . tcp", f"{link(5)} . udp", f"{link(6)} . tcp"}
    assert set(elements(spec, "open_in4")) == {f"{link(6)} . tcp", f"{link(6)} . udp"}


def test_untracked_connections_are_judged_anew_when_open_rules_change_and_only_then() -> None:
    def known(*rules: RuleSpec) -> tuple[str, ...]:
        return chain(vpc((group("sg-a", *rules),), interface(5, "sg-a")), "known")

    web = tcp(80, cidr=ANY)
    assert known(web) != known()
    assert known(web, tcp(22, cidr="192.0.2.0/24")) == known(web)


def test_flows_are_counted_where_they_are_captured() -> None:
    spec = vpc((), interface(5), captures=(CaptureSpec(interface_id="eni-5", accepted=True, rejected=False),))
    assert list(elements(spec, "watched")) == [link(5)]
    assert elements(spec, "watched_refusals") == {}
    assert chain(vpc((), interface(5)), "account") == ()


def test_what_did_not_change_is_the_same_object() -> None:
    groups = tuple(group(f"sg-{number}", tcp(number, cidr="10.0.0.0/8")) for number in range(1, 5))
    before = ruleset.tables(vpc(groups, interface(5, "sg-1")))[0]
    after = ruleset.tables(vpc((*groups[:3], group("sg-4")), interface(5, "sg-1")))[0]
    assert before.chains["in_sg_3"] is after.chains["in_sg_3"]
    assert before.elements["bindings4"] is after.elements["bindings4"]


def test_equal_specs_have_equal_scripts_and_an_interface_more_costs_a_few_lines() -> None:
    groups = tuple(group(f"sg-{number}", *(tcp(port, cidr="10.0.0.0/8") for port in range(8))) for number in range(100))
    before = vpc(groups, *(interface(number, f"sg-{number}") for number in range(5, 100)))
    again = vpc(groups, *(interface(number, f"sg-{number}") for number in range(5, 100)))
    after = vpc(groups, *before.interfaces, interface(100, "sg-99", public="203.0.113.7"))
    assert nft.replace(ruleset.tables(before)) == nft.replace(ruleset.tables(again))
    changes = [line for line in script(before, after) if " chain " not in line and " rule " not in line]
    assert len(changes) < 20
    assert all(line.startswith("add element") for line in changes)


def test_a_rule_more_in_a_large_group_rewrites_a_small_part_of_it() -> None:
    rules = [tcp(port, cidr="10.0.0.0/8") for port in range(1000)]
    before, after = vpc((group("sg-a", *rules[:-1]),)), vpc((group("sg-a", *rules),))
    assert 1 < len(script(before, after)) < 100
