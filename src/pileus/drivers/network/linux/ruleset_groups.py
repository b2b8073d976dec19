"""Security groups: a chain for each group and direction, and for each set of groups that an interface has.

A group's rules stand once, however many interfaces have it; an interface is one element in ``egress`` and ``ingress``.
Large groups are split into shards by hash, so that a rule more or less rewrites a few dozen, not a thousand.

EC2 tracks connections, with one exception ("untracked connections" in its user guide): TCP and UDP that a rule for all
addresses allows, while another one allows all answers. Such a connection ends as soon as the rule does. Here, every one
is tracked by the kernel, is marked when it is of that kind, and is judged by the rules anew when they have changed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pileus.drivers.network.linux.nft import Chain, Elements
from pileus.drivers.network.linux.ruleset_parts import (
    ADDRESS,
    ANYWHERE,
    FAMILIES,
    NFPROTO,
    PROTOCOLS,
    WORD,
    Parts,
    addresses,
    family,
    link,
    map_of,
    service,
    set_of,
    suits,
    word,
)
from pileus.hostapi.network_spec import GroupSpec, InterfaceSpec, PrefixListSpec, RuleSpec, VpcSpec

_SHARD = 32
_TRANSPORT = ("tcp", "udp")


def parts(vpc: VpcSpec) -> Parts:
    """Chains of groups; sets of members and prefix lists; for interfaces, which chains they go through."""
    known = frozenset(group.group_id for group in vpc.groups)
    versions = FAMILIES if vpc.ipv6_cidrs else (4,)
    peers = _peers(vpc.groups, vpc.prefix_lists)
    chains: dict[str, Chain] = {}
    for group in vpc.groups:
        names = tuple((name, peers[name][0]) for name in _references(group))
        chains.update(_bound(group, versions, names))
    return Parts(
        elements={
            **_interfaces(vpc.interfaces, known),
            **_untracked(vpc.interfaces, tuple((one.group_id, *_answerable(one)) for one in vpc.groups)),
            **dict(peers.values()),
        },
        chains={**chains, **_unions(vpc.interfaces, known), **_VERDICTS},
    )


def epoch(vpc: VpcSpec) -> int:
    """1 to 32767: another one, but for one case in 32,767, when rules changed that untracked connections may go by."""
    open_rules = [f"{group.group_id} {_open_rules(group)}" for group in vpc.groups]
    interfaces = [f"{nic.interface_id} {nic.groups}" for nic in vpc.interfaces]
    digest = hashlib.sha256("\n".join((*open_rules, *interfaces)).encode()).digest()
    return 1 + int.from_bytes(digest[:8]) % 0x7FFF


_VERDICTS = {
    # By a rule for all addresses; and where all answers are allowed, too, the connection is not tracked. What NAT
    # gateways translate always is.
    "open_out": Chain(
        rules=(
            "oifname @nat_links goto cross",
            *(
                f"ct state new meta nfproto {NFPROTO[version]} iifname . meta l4proto @open_in{version}"
                " ct mark set ct mark | 0x80000000"
                for version in FAMILIES
            ),
            "goto cross",
        )
    ),
    "open_in": Chain(
        rules=(
            "iifname @nat_links goto finish",
            *(
                f"ct state new meta nfproto {NFPROTO[version]} oifname . meta l4proto @open_out{version}"
                " ct mark set ct mark | 0x40000000"
                for version in FAMILIES
            ),
            "goto finish",
        )
    ),
}


@lru_cache(maxsize=256)
def _interfaces(interfaces: tuple[InterfaceSpec, ...], known: frozenset[str]) -> dict[str, Elements]:
    made: dict[str, Elements] = {}
    for name, direction, unfiltered in (("egress", "out", "cross"), ("ingress", "in", "finish")):
        chains = {link(nic): f"goto {_chain_of(_groups(nic, known), direction)}" for nic in interfaces}
        chains |= {link(nic): f"goto {unfiltered}" for nic in interfaces if nic.kind == "nat"}
        made[name] = map_of(
            "ifname : verdict", {where: verdict for where, verdict in chains.items() if verdict != "goto "}
        )
    return made


def _groups(interface: InterfaceSpec, known: frozenset[str]) -> tuple[str, ...]:
    """The interface's groups in a fixed order. One that the spec does not describe lets nothing pass."""
    return tuple(sorted(known.intersection(interface.groups)))


def _chain_of(groups: tuple[str, ...], direction: str) -> str:
    """The chain for a union of groups, "" when there is none."""
    if len(groups) < 2:
        return "".join(f"{direction}_just_{word(group)}" for group in groups)
    return f"{direction}_all_{hashlib.sha256(' '.join(groups).encode()).hexdigest()[:16]}"


@lru_cache(maxsize=256)
def _unions(interfaces: tuple[InterfaceSpec, ...], known: frozenset[str]) -> dict[str, Chain]:
    unions = sorted({groups for nic in interfaces if nic.kind != "nat" and (groups := _groups(nic, known))})
    return {
        _chain_of(groups, direction): Chain(
            rules=(*(f"jump {direction}_{word(group)}" for group in groups), f"goto refuse_{direction}")
        )
        for groups in unions
        for direction in ("out", "in")
    }


@lru_cache(maxsize=4096)
def _group(group: GroupSpec, versions: tuple[int, ...]) -> dict[str, Chain]:
    """The group's chains of both directions, with their shards."""
    made: dict[str, Chain] = {}
    for direction, rules, verdict in (("out", group.egress, "cross"), ("in", group.ingress, "finish")):
        peer, is_open = ("daddr" if direction == "out" else "saddr"), f"goto open_{direction}"
        texts = [
            (text, not wide)
            for rule in rules
            for version in versions
            if (text := _rule(rule, version, peer, is_open if (wide := _is_open(rule)) else f"goto {verdict}"))
        ]
        made.update(_shards(f"{direction}_{word(group.group_id)}", texts))
    return made


def _shards(name: str, rules: list[tuple[str, bool]]) -> dict[str, Chain]:
    """One chain, or one of jumps to shards of about ``_SHARD`` rules; those for all addresses are tried first."""
    first = tuple(sorted(text for text, later in rules if not later))
    later = sorted({text for text, later in rules if later})
    if len(later) <= _SHARD:
        return {name: Chain(rules=(*dict.fromkeys(first), *later))}
    count = 1 << (len(later) // _SHARD).bit_length()
    buckets: dict[int, list[str]] = {}
    for text in later:
        buckets.setdefault(hashlib.blake2b(text.encode(), digest_size=4).digest()[0] % min(count, 256), []).append(text)
    shards = {f"{name}_{count}_{bucket}": Chain(rules=tuple(texts)) for bucket, texts in sorted(buckets.items())}
    return {name: Chain(rules=(*dict.fromkeys(first), *(f"jump {shard}" for shard in shards))), **shards}


@lru_cache(maxsize=1 << 16)
def _rule(rule: RuleSpec, version: int, peer: str, verdict: str) -> str | None:
    """The rule for one family; None when it says nothing about it."""
    if not suits(rule.protocol, version) or (rule.cidr is not None and family(rule.cidr) != version):
        return None
    parts_of = (_peer(rule, version, peer), service(rule.protocol, rule.from_port, rule.to_port), verdict)
    return " ".join(part for part in parts_of if part)


def _peer(rule: RuleSpec, version: int, peer: str) -> str:
    if rule.group is not None:
        return f"{WORD[version]} {peer} @members{version}_{word(rule.group)}"
    if rule.prefix_list is not None:
        return f"{WORD[version]} {peer} @list{version}_{word(rule.prefix_list)}"
    (network,) = addresses((rule.cidr or ANYWHERE[version],), version)
    return f"meta nfproto {NFPROTO[version]}" if network == ANYWHERE[version] else f"{WORD[version]} {peer} {network}"


def _peers(groups: tuple[GroupSpec, ...], lists: tuple[PrefixListSpec, ...]) -> dict[str, tuple[str, Elements]]:
    """A set of addresses for every group and prefix list that a rule refers to, by the name that rules have for it.

    Its actual name says what is in it: a set that changed is another set, and rules go over from one to the other. For
    rules of a hook change together, between two packets; elements may change while a packet is on its way.
    """
    values = {f"members{{}}_{word(group.group_id)}": group.members for group in groups}
    values |= {f"list{{}}_{word(one.prefix_list_id)}": one.cidrs for one in lists}
    made: dict[str, tuple[str, Elements]] = {}
    for name in sorted({name for group in groups for name in _references(group)}):
        kind, version, resource = name[: name.index("_") - 1], int(name[name.index("_") - 1]), name[name.index("_") :]
        networks = _networks(values.get(f"{kind}{{}}{resource}", ()), version)
        made[name] = f"{name}_{_digest(networks)}", networks
    return made


@lru_cache(maxsize=4096)
def _references(group: GroupSpec) -> tuple[str, ...]:
    """The sets that the group's rules refer to, of both families."""
    rules = (*group.ingress, *group.egress)
    names = {f"members{{}}_{word(rule.group)}" for rule in rules if rule.group is not None}
    names |= {f"list{{}}_{word(rule.prefix_list)}" for rule in rules if rule.prefix_list is not None}
    return tuple(sorted(name.format(version) for name in names for version in FAMILIES))


@lru_cache(maxsize=4096)
def _bound(group: GroupSpec, versions: tuple[int, ...], names: tuple[tuple[str, str], ...]) -> dict[str, Chain]:
    """The group's chains, with the actual names of sets."""
    actual = dict(names)

    def bind(rule: str) -> str:
        return _REFERENCE.sub(lambda found: f"@{actual[found[1]]}", rule)

    return {
        name: Chain(rules=tuple(map(bind, chain.rules))) if any(map(_REFERENCE.search, chain.rules)) else chain
        for name, chain in _group(group, versions).items()
    }


_REFERENCE = re.compile(r"@((?:members|list)[46]_\w+)")


def _digest(elements: Elements) -> str:
    return hashlib.blake2b("\n".join(elements.elements).encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=4096)
def _networks(values: tuple[str, ...], version: int) -> Elements:
    return set_of(ADDRESS[version], addresses(values, version), interval=True)


def _is_open(rule: RuleSpec) -> bool:
    """Whether it allows TCP or UDP for all addresses."""
    return rule.cidr in ANYWHERE.values() and PROTOCOLS.get(rule.protocol, rule.protocol) in ("-1", *_TRANSPORT)


@lru_cache(maxsize=4096)
def _open_rules(group: GroupSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The group's rules for all addresses, as texts: ingress, egress."""

    def texts(rules: Iterable[RuleSpec]) -> tuple[str, ...]:
        return tuple(f"{one.protocol} {one.from_port}-{one.to_port} {one.cidr}" for one in rules if _is_open(one))

    return texts(group.ingress), texts(group.egress)


@lru_cache(maxsize=4096)
def _answerable(group: GroupSpec) -> tuple[frozenset[str], frozenset[str]]:
    """Of which families and protocols all packets are allowed, e.g. ``4tcp``: ingress, egress."""

    def all_of(rules: Iterable[RuleSpec]) -> Iterator[str]:
        for rule in rules:
            name = PROTOCOLS.get(rule.protocol, rule.protocol)
            if _is_open(rule) and (name == "-1" or (rule.from_port, rule.to_port) in ((0, 65535), (-1, -1))):
                yield from (f"{family(rule.cidr or '')}{one}" for one in _TRANSPORT if name in ("-1", one))

    return frozenset(all_of(group.ingress)), frozenset(all_of(group.egress))


@lru_cache(maxsize=256)
def _untracked(
    interfaces: tuple[InterfaceSpec, ...], groups: tuple[tuple[str, frozenset[str], frozenset[str]], ...]
) -> dict[str, Elements]:
    """By direction and family: the links and protocols of which the interface's groups together allow everything."""
    found: dict[str, dict[str, str]] = {f"open_{way}{version}": {} for way in ("in", "out") for version in FAMILIES}
    for nic in interfaces:
        for group_id, inward, outward in groups:
            if group_id in nic.groups:
                for way, kinds in (("in", inward), ("out", outward)):
                    for kind in kinds:
                        found[f"open_{way}{kind[0]}"][f"{link(nic)} . {kind[1:]}"] = ""
    return {name: set_of("ifname . inet_proto", dict(sorted(values.items()))) for name, values in found.items()}
