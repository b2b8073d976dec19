"""Counting for flow logs: what interfaces in the VPC's ``captures`` sent and received, accepted or refused.

The kernel adds up packets by flow in sets of bounded size, whose elements go when they are idle; ``capture`` reads them.
"""

from collections.abc import Iterator

from pileus.drivers.network.linux.nft import Chain, Elements
from pileus.drivers.network.linux.ruleset_parts import ADDRESS, FAMILIES, WORD, Parts, link, set_of
from pileus.hostapi.network_spec import VpcSpec

WAYS = ("sent", "received", "unsent", "unreceived")
"""What was accepted as it left an interface, as it came to one; what was refused there."""
KINDS = ("tcp", "udp", "other")
FLAGS = {"fin": 1, "syn": 2, "rst": 4, "synack": 18}
"""The TCP flags that flow logs tell, and their values there."""

IDLE = 180
"""Seconds after which a flow that sends nothing is forgotten."""
_LIMIT = 8192
_DYNAMIC = f"flags dynamic,timeout; timeout {IDLE}s; size {_LIMIT}"
_MATCHES = {
    "fin": "tcp flags & fin == fin",
    "syn": "tcp flags & (syn | ack) == syn",
    "rst": "tcp flags & rst == rst",
    "synack": "tcp flags & (syn | ack) == (syn | ack)",
}


def set_name(way: str, kind: str, version: int) -> str:
    """The set in which flows of a way, protocol and family are counted."""
    return f"{way}_{kind}{version}"


def flag_name(flag: str, version: int) -> str:
    """The set of TCP flows in which the flag was seen."""
    return f"seen_{flag}{version}"


def parts(vpc: VpcSpec) -> Parts:
    """Sets and chains; when nothing is captured, chains that count nothing."""
    links = {nic.interface_id: link(nic) for nic in vpc.interfaces}
    accepted = [links[one.interface_id] for one in vpc.captures if one.accepted and one.interface_id in links]
    refused = [links[one.interface_id] for one in vpc.captures if one.rejected and one.interface_id in links]
    if not accepted and not refused:
        return Parts(chains=_NOTHING)
    sets = {
        set_name(way, kind, version): _flows(kind, version) for way in WAYS for kind in KINDS for version in FAMILIES
    }
    flags = {
        flag_name(flag, version): Elements(
            declaration=f"type {ADDRESS[version]} . {ADDRESS[version]} . inet_service . inet_service; {_DYNAMIC}",
            elements={},
        )
        for flag in FLAGS
        for version in FAMILIES
    }
    watched = {"watched": set_of("ifname", accepted), "watched_refusals": set_of("ifname", refused)}
    return Parts(elements={**sets, **flags, **watched}, chains={**_COUNTING, **_counters()})


def _flows(kind: str, version: int) -> Elements:
    ports = "inet_proto" if kind == "other" else "inet_service . inet_service"
    address = ADDRESS[version]
    return Elements(declaration=f"type iface_index . {address} . {address} . {ports}; {_DYNAMIC}", elements={})


def _counters() -> dict[str, Chain]:
    return {
        **{f"count_{way}": Chain(rules=tuple(_updates(way))) for way in WAYS},
        "count_flags": Chain(
            rules=tuple(
                f"{_MATCHES[flag]} update @{flag_name(flag, version)}"
                f" {{ {WORD[version]} saddr . {WORD[version]} daddr . tcp sport . tcp dport }}"
                for flag in FLAGS
                for version in FAMILIES
            )
        ),
    }


def _updates(way: str) -> Iterator[str]:
    index = "iif" if way in ("sent", "unsent") else "oif"
    for version in FAMILIES:
        addresses = f"{WORD[version]} saddr . {WORD[version]} daddr"
        for kind in ("tcp", "udp"):
            yield (
                f"update @{set_name(way, kind, version)}"
                f" {{ {index} . {addresses} . {kind} sport . {kind} dport counter }}"
            )
        yield (
            f"meta l4proto != {{ tcp, udp }} update @{set_name(way, 'other', version)}"
            f" {{ {index} . {addresses} . meta l4proto counter }}"
        )
    yield "meta l4proto tcp jump count_flags"


_NOTHING = {
    "account": Chain(rules=()),
    "refuse_out": Chain(rules=("drop",)),
    "refuse_in": Chain(rules=("drop",)),
}
_COUNTING = {
    "account": Chain(rules=("iifname @watched jump count_sent", "oifname @watched jump count_received")),
    "refuse_out": Chain(rules=("iifname @watched_refusals jump count_unsent", "drop")),
    # The sender's side has let it pass.
    "refuse_in": Chain(
        rules=("iifname @watched jump count_sent", "oifname @watched_refusals jump count_unreceived", "drop")
    ),
}
