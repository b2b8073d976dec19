"""Network ACLs: at each subnet's border, both ways, for every packet.

An interface is one element in ``acl_out`` and ``acl_in``, which lead to its subnet's chain; that of an ACL that allows
everything is left out.
"""

from collections.abc import Iterator

from pileus.drivers.network.linux.nft import Chain
from pileus.drivers.network.linux.ruleset_parts import (
    ANYWHERE,
    NFPROTO,
    WORD,
    Parts,
    addresses,
    family,
    map_of,
    service,
    set_of,
    subnet_links,
    suits,
    word,
)
from pileus.hostapi.network_spec import AclEntrySpec, AclSpec, VpcSpec


def parts(vpc: VpcSpec) -> Parts:
    """Chains for subnets and for ACLs, and which interface goes through which."""
    versions = (4, 6) if vpc.ipv6_cidrs else (4,)
    acls = {acl.acl_id: acl for acl in vpc.acls}
    links = dict(subnet_links(vpc))
    verdicts: dict[str, dict[str, str]] = {"out": {}, "in": {}}
    chains: dict[str, Chain] = {}
    sets = {f"links_{word(subnet)}": set_of("ifname", names) for subnet, names in links.items()}
    for subnet in vpc.subnets:
        for direction, other in (("out", "oifname"), ("in", "iifname")):
            acl = acls[subnet.acl]
            if all(_is_open(_entries(acl, direction), version) for version in versions):
                continue
            name = f"acl_{direction}_{word(subnet.subnet_id)}"
            verdicts[direction] |= dict.fromkeys(links[subnet.subnet_id], f"jump {name}")
            open_families = tuple(
                f"meta nfproto {NFPROTO[version]} return"
                for version in versions
                if _is_open(_entries(acl, direction), version)
            )
            inside = f"{other} @links_{word(subnet.subnet_id)} return"
            chains[name] = Chain(rules=(inside, *open_families, f"goto {_name(acl, direction)}"))
            chains[_name(acl, direction)] = Chain(rules=tuple(_rules(acl, direction)))
    maps = {f"acl_{way}": map_of("ifname : verdict", found) for way, found in verdicts.items()}
    return Parts(elements={**sets, **maps}, chains=chains)


def _name(acl: AclSpec, direction: str) -> str:
    return f"list_{direction}_{word(acl.acl_id)}"


def _entries(acl: AclSpec, direction: str) -> tuple[AclEntrySpec, ...]:
    return acl.ingress if direction == "in" else acl.egress


def _is_open(entries: tuple[AclEntrySpec, ...], version: int) -> bool:
    """Whether the first entry that could say anything about the family allows all of it."""
    first = next((one for one in entries if family(one.cidr) == version and suits(one.protocol, version)), None)
    return first is not None and first.allow and first.protocol == "-1" and first.cidr == ANYWHERE[version]


def _rules(acl: AclSpec, direction: str) -> Iterator[str]:
    peer = "saddr" if direction == "in" else "daddr"
    for entry in _entries(acl, direction):
        version = family(entry.cidr)
        if not suits(entry.protocol, version):
            continue
        (network,) = addresses((entry.cidr,), version)
        where = (
            f"meta nfproto {NFPROTO[version]}" if network == ANYWHERE[version] else f"{WORD[version]} {peer} {network}"
        )
        what = service(entry.protocol, entry.from_port, entry.to_port)
        yield " ".join(part for part in (where, what, "return" if entry.allow else f"goto refuse_{direction}") if part)
    yield f"goto refuse_{direction}"
