"""Random networks for the differential test: always the same interfaces, so that guests stay while all else changes.

Three VPCs, of which two have the same CIDR and two may be peered. Each has subnets ``a`` and ``b`` with a guest or two,
and ``c`` with a guest that forwards; the first also has a NAT gateway.
"""

from collections.abc import Iterator
from random import Random

from network_specs import interface, network, route_table, subnet, subnet_id

from pileus.hostapi.network_spec import (
    AclEntrySpec,
    AclSpec,
    AddressSpec,
    GroupSpec,
    InterfaceSpec,
    NatGatewaySpec,
    NetworkSpec,
    PeeringSpec,
    PrefixListSpec,
    RouteTableSpec,
    RuleSpec,
    SubnetSpec,
    VpcSpec,
)

WORLD = "198.51.100.2"
PORTS = (80, 81)
V6_POOL = "2001:db8::/32"
ANY, ANY6 = "0.0.0.0/0", "::/0"
_VPCS = (("vpc-1", "10.0", 1), ("vpc-2", "10.1", 2), ("vpc-3", "10.0", 3))
_PEERED = {"vpc-1": ("10.1.0.0/16", "2001:db8:2::/56"), "vpc-2": ("10.0.0.0/16", "2001:db8:1::/56")}
_PUBLIC = 10


def topology(random: Random) -> NetworkSpec:
    """One network. About half of what it could have, it has."""
    peered = random.random() < 0.7
    return network(
        *(_vpc(random, *one, peered=peered) for one in _VPCS),
        ipv6_pools=(V6_POOL,),
        peerings=(PeeringSpec(peering_id="pcx-1", requester="vpc-1", accepter="vpc-2"),) if peered else (),
    )


def changed(random: Random, spec: NetworkSpec) -> NetworkSpec:
    """The same network with other rules in one VPC: other groups, or other ACLs."""
    number = random.randrange(3)
    vpc = spec.vpcs[number]
    other = _vpc(random, *_VPCS[number], peered=bool(spec.peerings))
    part = random.choice(("groups", "acls", "subnets", "interfaces"))
    if part == "groups":
        mixed = _with(vpc, groups=other.groups)
    elif part == "acls":
        mixed = _with(vpc, acls=other.acls)
    elif part == "subnets":
        mixed = _with(vpc, subnets=other.subnets, route_tables=other.route_tables, internet=other.internet)
    else:
        mixed = _with(vpc, interfaces=other.interfaces)
    return _with(spec, vpcs=(*spec.vpcs[:number], mixed, *spec.vpcs[number + 1 :]))


def guests(spec: NetworkSpec) -> Iterator[InterfaceSpec]:
    """The interfaces that guests are behind."""
    return (nic for vpc in spec.vpcs for nic in vpc.interfaces if nic.kind == "guest")


def destinations(spec: NetworkSpec) -> list[str]:
    """Every address that may be worth a try."""
    found = {WORLD}
    for nic in guests(spec):
        found |= {one.address for one in nic.addresses} | set(nic.ipv6)
        found |= {one.public for one in nic.addresses if one.public is not None}
    return sorted(found)


def _with(value: object, **changes: object) -> object:
    names = value.__struct_fields__
    return type(value)(**{name: getattr(value, name) for name in names} | changes)


def _vpc(random: Random, name: str, base: str, number: int, *, peered: bool) -> VpcSpec:
    from network_specs import vpc as make

    cidrs = {letter: f"{base}.{place}.0/24" for place, letter in enumerate("abc")}
    interfaces = tuple(_interfaces(random, cidrs, number))
    forwarder = f"eni-{number}31"
    internet = random.random() < 0.85
    way = "internet" if internet else "blackhole"
    tables = tuple(_tables(random, name, cidrs, forwarder, number, way, peered=peered))
    return make(
        tuple(_groups(random, interfaces, base, number)),
        *interfaces,
        name=name,
        cidrs=(f"{base}.0.0/16",),
        ipv6_cidrs=(f"2001:db8:{number}::/56",),
        subnets=tuple(_subnets(random, cidrs, number)),
        route_tables=tables,
        acls=tuple(_acl(random, f"acl-{letter}", base) for letter in "abc"),
        prefix_lists=(PrefixListSpec(prefix_list_id="pl-1", cidrs=(cidrs["a"], "203.0.113.0/24", "2001:db8::/32")),),
        internet=internet,
        nat_gateways=(NatGatewaySpec(nat_gateway_id="nat-1", interface_id="eni-190"),) if number == 1 else (),
    )


def _interfaces(random: Random, cidrs: dict[str, str], number: int) -> Iterator[InterfaceSpec]:
    for place, letter, host in ((1, "a", 11), (2, "a", 12), (3, "b", 21), (4, "c", 31)):
        cidr = cidrs[letter]
        prefix = cidr.rsplit(".", 1)[0]
        public = f"203.0.113.{_PUBLIC * number + place}" if random.random() < 0.5 else None
        addresses = [AddressSpec(address=f"{prefix}.{host}", public=public)]
        if place == 1:
            addresses.append(AddressSpec(address=f"{prefix}.{host + 100}", public=f"203.0.113.{_PUBLIC * number + 9}"))
        groups = random.sample(("sg-1", "sg-2", "sg-3"), random.choice((1, 1, 2)))
        yield interface(
            host,
            *groups,
            subnet=cidr,
            interface_id=f"eni-{number}{host}",
            mac=f"02:00:00:00:{number:02x}:{host:02x}",
            addresses=tuple(addresses),
            ipv6=(f"2001:db8:{number}:{ord(letter) - 96}::{host}",) if place != 2 else (),
            source_dest_check=letter != "c" or random.random() < 0.3,
        )
    if number == 1:
        address = AddressSpec(address=f"{cidrs['c'].rsplit('.', 1)[0]}.90", public="203.0.113.90")
        yield interface(
            90, subnet=cidrs["c"], interface_id="eni-190", mac="02:00:00:00:01:90", kind="nat", addresses=(address,)
        )


def _subnets(random: Random, cidrs: dict[str, str], number: int) -> Iterator[SubnetSpec]:
    for place, (letter, cidr) in enumerate(cidrs.items()):
        acl = random.choice(("acl-a", "acl-b", "acl-c"))
        yield subnet(
            cidr, f"rtb-{letter}", acl, subnet_id=subnet_id(cidr), ipv6_cidr=f"2001:db8:{number}:{place + 1}::/64"
        )


def _tables(
    random: Random, name: str, cidrs: dict[str, str], forwarder: str, number: int, way: str, *, peered: bool
) -> Iterator[RouteTableSpec]:
    local = (f"{cidrs['a'].rsplit('.', 2)[0]}.0.0/16", f"2001:db8:{number}::/56")
    through = random.random() < 0.3
    for letter in "abc":
        routes: list[tuple[str, ...]] = []
        ways = [(way, "igw-1"), ("blackhole", "igw-2"), (way, "igw-1")]
        if number == 1 and letter != "c":
            ways += [("nat", "nat-1")] * 3
        if random.random() < 0.8:
            routes.append((ANY, *random.choice(ways)))
        if random.random() < 0.7:
            routes.append((ANY6, *random.choice(((way, "igw-1"), ("egress-only", "eigw-1")))))
        if peered and name in _PEERED:
            # Without its route back, IPv6 would answer by the internet, which no stateful filter on the way likes.
            routes += [(cidr, "peering", "pcx-1") for cidr in _PEERED[name] if ":" in cidr or random.random() < 0.8]
        if through and letter != "c":
            other = cidrs["b" if letter == "a" else "a"]
            routes.append((other, "interface", forwarder))
        if random.random() < 0.15:
            routes.append((f"{WORLD}/32", "blackhole", "nat-9"))
        yield route_table(*routes, name=f"rtb-{letter}", local=local)


def _groups(random: Random, interfaces: tuple[InterfaceSpec, ...], base: str, number: int) -> Iterator[GroupSpec]:
    peers = [ANY, ANY6, f"{base}.0.0/24", f"{base}.1.0/24", "203.0.113.0/24", f"2001:db8:{number}:1::/64", "10.0.0.0/8"]
    for name in ("sg-1", "sg-2", "sg-3"):
        members = tuple(
            address
            for nic in interfaces
            if name in nic.groups
            for address in (*(one.address for one in nic.addresses), *nic.ipv6)
        )
        ingress = tuple(_rule(random, peers) for _ in range(random.randrange(5)))
        egress = tuple(_rule(random, peers) for _ in range(random.randrange(4)))
        if random.random() < 0.6:
            egress = tuple(RuleSpec(protocol="-1", cidr=cidr) for cidr in (ANY, ANY6))
        yield GroupSpec(group_id=name, ingress=ingress, egress=egress, members=members)
    peer = ("10.1.0.11", "10.1.0.111") if number == 1 else ("10.0.0.11", "10.0.1.21")
    yield GroupSpec(group_id="sg-9", ingress=(), egress=(), members=peer)


def _rule(random: Random, peers: list[str]) -> RuleSpec:
    what = _service(random)
    kind = random.random()
    if kind < 0.25:
        return RuleSpec(**what, group=random.choice(("sg-1", "sg-2", "sg-3", "sg-9")))
    if kind < 0.35:
        return RuleSpec(**what, prefix_list="pl-1")
    return RuleSpec(**what, cidr=random.choice(peers))


def _service(random: Random) -> dict[str, object]:
    return random.choice(
        (
            {"protocol": "-1"},
            {"protocol": "-1"},
            {"protocol": "tcp", "from_port": 80, "to_port": 80},
            {"protocol": "tcp", "from_port": 80, "to_port": 81},
            {"protocol": "tcp", "from_port": 0, "to_port": 65535},
            {"protocol": "udp", "from_port": 81, "to_port": 81},
            {"protocol": "17"},
            {"protocol": "icmp", "from_port": 8, "to_port": -1},
            {"protocol": "icmpv6"},
            {"protocol": "icmp"},
        )
    )


def _acl(random: Random, name: str, base: str) -> AclSpec:
    return AclSpec(acl_id=name, ingress=_entries(random, base), egress=_entries(random, base))


def _entries(random: Random, base: str) -> tuple[AclEntrySpec, ...]:
    everything = tuple(AclEntrySpec(allow=True, protocol="-1", cidr=cidr) for cidr in (ANY, ANY6))
    kind = random.random()
    if kind < 0.55:
        return everything
    cidrs = (ANY, ANY6, f"{base}.0.0/24", f"{base}.1.0/24", "198.51.100.0/24", "2001:db8::/32")
    some = tuple(
        AclEntrySpec(allow=random.random() < 0.4, cidr=random.choice(cidrs), **_service(random))
        for _ in range(random.randrange(1, 4))
    )
    answers = tuple(
        AclEntrySpec(allow=True, protocol=protocol, cidr=cidr, from_port=1024, to_port=65535)
        for protocol in ("tcp", "udp")
        for cidr in (ANY, ANY6)
    )
    return (*some, *(everything if kind < 0.8 else answers))
