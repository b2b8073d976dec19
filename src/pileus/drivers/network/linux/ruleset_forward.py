"""The frame of what is forwarded: tracked, new, or judged anew; where it may come from and go to.

The connection's mark says how the security groups see it:

    bit 31: the sender's side does not track it; bit 30: the receiver's side does not. Neither: tracked by both.
    bits 0-14: the rules (their ``epoch``) by which packets of its original direction were last judged, and
    bits 15-29: those of its answers.
"""

from pileus.drivers.network.linux.names import EDGE_LINK, PEERING_PREFIX
from pileus.drivers.network.linux.nft import Chain
from pileus.drivers.network.linux.ruleset_groups import epoch
from pileus.drivers.network.linux.ruleset_parts import ADDRESS, FAMILIES, WORD, Parts, addresses, link, plain, set_of
from pileus.drivers.network.linux.ruleset_parts import prefixes as prefixes_of
from pileus.drivers.network.linux.ruleset_translation import internet6
from pileus.hostapi.network_spec import VpcSpec

SENDER_UNTRACKED, RECEIVER_UNTRACKED = 0x80000000, 0x40000000
_EITHER = SENDER_UNTRACKED | RECEIVER_UNTRACKED
_THERE, _BACK, _SHIFT = 0x00007FFF, 0x3FFF8000, 15

_PEERS = f'"{PEERING_PREFIX}*"'
_EDGE = f'"{EDGE_LINK}"'


def parts(vpc: VpcSpec) -> Parts:
    """The chains, and the sets of what the VPC's interfaces own."""
    targets = {route.target for table in vpc.route_tables for route in table.routes if route.kind == "interface"}
    guarded = [nic for nic in vpc.interfaces if nic.interface_id in targets and nic.source_dest_check]
    elements = {
        "guarded": set_of("ifname", [link(nic) for nic in guarded if nic.kind != "nat"]),
        "nat_links": set_of("ifname", [link(nic) for nic in vpc.interfaces if nic.kind == "nat"]),
        "internet6": set_of("ifname", internet6(vpc)),
    }
    for version in FAMILIES:
        cidrs = vpc.ipv6_cidrs if version == 6 else vpc.cidrs
        elements[f"home{version}"] = set_of(ADDRESS[version], addresses(cidrs, version), interval=True)
        elements[f"guarded_own{version}"] = set_of(
            f"ifname . {ADDRESS[version]}",
            [f"{link(nic)} . {one}" for nic in guarded for one in (*plain(nic, version), *prefixes_of(nic, version))],
            interval=True,
        )
    return Parts(elements=elements, chains={**_CHAINS, **_epochs(epoch(vpc))})


_CHAINS = {
    "forward": Chain(
        hook="type filter hook forward priority filter; policy drop;",
        rules=(
            "oifname @guarded jump guard",
            f"iifname {_PEERS} jump from_peer",
            "ct state vmap { established : goto known, related : goto pass, invalid : drop }",
            f"iifname {_EDGE} goto from_edge",
            f"iifname {_PEERS} goto cross",
            "iifname vmap @egress",
            "goto refuse_out",
        ),
    ),
    # With the check on, an interface gets nothing for foreign destinations, though a route leads them to it.
    "guard": Chain(
        rules=(
            *(f"oifname . {WORD[version]} daddr @guarded_own{version} return" for version in FAMILIES),
            "drop",
        )
    ),
    # A peering leads to interfaces only, and never further.
    "from_peer": Chain(
        rules=(
            f"oifname {_EDGE} drop",
            f"oifname {_PEERS} drop",
            "oifname @nat_links drop",
            *(f"{WORD[version]} daddr @home{version} return" for version in FAMILIES),
            "drop",
        )
    ),
    "from_edge": Chain(
        rules=(
            "meta nfproto ipv4 ct status dnat goto cross",
            # Where all routes for IPv6 are egress-only, or none, connections do not begin outside.
            "meta nfproto ipv6 oifname @internet6 goto cross",
            "drop",
        )
    ),
    # Packets that pass the receiver's groups, or whose receiver is beyond this namespace.
    "cross": Chain(
        rules=(
            "iifname vmap @acl_out",
            "oifname vmap @acl_in",
            f"oifname {_EDGE} goto to_edge",
            f"oifname {_PEERS} goto to_peer",
            # Of a known connection that the receiver's side tracks, this side has judged already.
            f"ct state established ct direction original ct mark & {RECEIVER_UNTRACKED:#x} == 0 goto finish",
            f"ct direction reply ct mark & {SENDER_UNTRACKED:#x} == 0 goto finish",
            "oifname vmap @ingress",
            "goto refuse_in",
        )
    ),
    "to_edge": Chain(
        rules=(
            "ip saddr @translated goto finish",
            "meta mark . ip daddr @gateway_endpoints goto finish",
            "meta nfproto ipv6 goto finish",
            "drop",
        )
    ),
    "to_peer": Chain(rules=tuple(f"{WORD[version]} saddr @home{version} goto finish" for version in FAMILIES)),
    "pass": Chain(rules=("iifname vmap @acl_out", "oifname vmap @acl_in", "jump account", "accept")),
}


def _epochs(now: int) -> dict[str, Chain]:
    """The chains that name the rules in force."""
    there, back = f"{now:#x}", f"{now << _SHIFT:#x}"
    return {
        "known": Chain(
            rules=(
                f"ct mark & {_EITHER:#x} == 0 goto pass",
                f"ct direction original ct mark & {_THERE:#x} == {there} goto pass",
                f"ct direction reply ct mark & {_BACK:#x} == {back} goto pass",
                f"ct direction original ct mark & {SENDER_UNTRACKED:#x} == 0 goto cross",
                f"ct direction reply ct mark & {RECEIVER_UNTRACKED:#x} == 0 goto cross",
                f"iifname {_PEERS} goto cross",
                f"iifname {_EDGE} goto cross",
                "iifname vmap @egress",
                "goto refuse_out",
            )
        ),
        "finish": Chain(
            rules=(
                f"ct direction original ct mark & {_EITHER:#x} != 0"
                f" ct mark set ct mark & {0xFFFFFFFF ^ _THERE:#x} | {there}",
                f"ct direction reply ct mark & {_EITHER:#x} != 0"
                f" ct mark set ct mark & {0xFFFFFFFF ^ _BACK:#x} | {back}",
                "jump account",
                "accept",
            )
        ),
    }
