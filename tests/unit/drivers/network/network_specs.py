"""Short ways to write network specs in tests of this directory."""

from ipaddress import IPv4Network

from pileus.hostapi.network_spec import (
    AclEntrySpec,
    AclSpec,
    AddressSpec,
    DhcpSpec,
    GroupSpec,
    InterfaceSpec,
    NetworkSpec,
    PoolSpec,
    RouteSpec,
    RouteTableSpec,
    RuleSpec,
    SubnetSpec,
    VpcSpec,
)

ANYTHING = RuleSpec(protocol="-1", cidr="0.0.0.0/0")
OPEN_ENTRIES = tuple(AclEntrySpec(allow=True, protocol="-1", cidr=cidr) for cidr in ("0.0.0.0/0", "::/0"))
OPEN_ACL = AclSpec(acl_id="acl-1", ingress=OPEN_ENTRIES, egress=OPEN_ENTRIES)
POOLS = (PoolSpec(cidr="203.0.113.0/24"),)


def group(
    name: str, *ingress: RuleSpec, egress: tuple[RuleSpec, ...] = (ANYTHING,), members: tuple[str, ...] = ()
) -> GroupSpec:
    """A group that lets everything out."""
    return GroupSpec(group_id=name, ingress=ingress, egress=egress, members=members)


def tcp(low: int, high: int | None = None, *, cidr: str | None = None, source: str | None = None) -> RuleSpec:
    """A rule for a range of ports."""
    return RuleSpec(protocol="tcp", from_port=low, to_port=low if high is None else high, cidr=cidr, group=source)


def subnet_id(cidr: str) -> str:
    """The id of the subnet with a CIDR, here."""
    return "subnet-" + cidr.replace(".", "x").replace("/", "x")


def subnet_cidr(name: str) -> str:
    """The CIDR of the subnet with an id, here."""
    *octets, length = name.removeprefix("subnet-").split("x")
    return f"{'.'.join(octets)}/{length}"


def subnet(cidr: str = "10.0.0.0/20", table: str = "rtb-1", acl: str = "acl-1", **other: object) -> SubnetSpec:
    """A subnet; its id is ``subnet_id(cidr)``."""
    values: dict[str, object] = {"subnet_id": subnet_id(cidr), "cidr": cidr, "route_table": table, "acl": acl}
    return SubnetSpec(**(values | other))


def route_table(
    *routes: tuple[str, ...], name: str = "rtb-1", local: tuple[str, ...] = ("10.0.0.0/16",)
) -> RouteTableSpec:
    """A table of (destination, kind[, target]), and of what is local."""
    return RouteTableSpec(
        route_table_id=name,
        routes=(
            *(RouteSpec(destination=cidr, kind="local") for cidr in local),
            *(RouteSpec(destination=cidr, kind=kind, target="".join(target)) for cidr, kind, *target in routes),
        ),
    )


INTERNET = route_table(("0.0.0.0/0", "internet", "igw-1"))


def interface(
    number: int, *groups: str, public: str | None = None, subnet: str = "10.0.0.0/20", **other: object
) -> InterfaceSpec:
    """``eni-<number>`` with the address base + number of the subnet, in ``addresses`` if not given."""
    address = str(IPv4Network(subnet)[number])
    values: dict[str, object] = {
        "interface_id": f"eni-{number}",
        "mac": f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
        "subnet": subnet_id(subnet),
        "addresses": (
            AddressSpec(
                address=address,
                public=public,
                names=(f"ip-{address.replace('.', '-')}.ec2.internal",),
                public_names=() if public is None else (f"ec2-{public.replace('.', '-')}.compute-1.example.com",),
            ),
        ),
        "groups": groups,
        "hostname": f"ip-{address.replace('.', '-')}",
    }
    return InterfaceSpec(**(values | other))


def vpc(groups: tuple[GroupSpec, ...], *interfaces: InterfaceSpec, name: str = "vpc-1", **other: object) -> VpcSpec:
    """A VPC with 10.0.0.0/16, on the internet, and the subnets that its interfaces name by ``subnet_id``."""
    cidrs = dict.fromkeys(one.subnet for one in interfaces)
    values: dict[str, object] = {
        "vpc_id": name,
        "cidrs": ("10.0.0.0/16",),
        "domain": "ec2.internal",
        "dhcp": DhcpSpec(domain="ec2.internal"),
        "subnets": tuple(subnet(subnet_cidr(one)) for one in cidrs),
        "route_tables": (INTERNET,),
        "acls": (OPEN_ACL,),
        "groups": groups,
        "interfaces": interfaces,
        "internet": True,
    }
    return VpcSpec(**(values | other))


def network(*vpcs: VpcSpec, **other: object) -> NetworkSpec:
    """All of them, with the usual pool."""
    values: dict[str, object] = {"pools": POOLS, "vpcs": vpcs}
    return NetworkSpec(**(values | other))
