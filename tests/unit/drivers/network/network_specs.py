"""Short ways to write network specs in tests of this directory."""

from pileus.hostapi.spec import GroupSpec, InterfaceSpec, RuleSpec, VpcSpec

ANYTHING = RuleSpec(protocol="-1", cidr="0.0.0.0/0")


def group(
    name: str, *ingress: RuleSpec, egress: tuple[RuleSpec, ...] = (ANYTHING,), members: tuple[str, ...] = ()
) -> GroupSpec:
    """A group that lets everything out."""
    return GroupSpec(group_id=name, ingress=ingress, egress=egress, members=members)


def tcp(low: int, high: int | None = None, *, cidr: str | None = None, source: str | None = None) -> RuleSpec:
    """A rule for a range of ports."""
    return RuleSpec(protocol="tcp", from_port=low, to_port=low if high is None else high, cidr=cidr, group=source)


def interface(number: int, *groups: str, public: str | None = None, **other: object) -> InterfaceSpec:
    """``eni-<number>`` with 10.0.0.<number>."""
    values: dict[str, object] = {
        "interface_id": f"eni-{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "private_address": f"10.0.0.{number}",
        "subnet_cidr": "10.0.0.0/20",
        "groups": groups,
        "hostname": f"ip-10-0-0-{number}",
        "names": (f"ip-10-0-0-{number}.ec2.internal",),
        "public_address": public,
    }
    return InterfaceSpec(**(values | other))


def vpc(groups: tuple[GroupSpec, ...], *interfaces: InterfaceSpec, name: str = "vpc-1") -> VpcSpec:
    """A VPC with 10.0.0.0/16."""
    return VpcSpec(vpc_id=name, cidrs=("10.0.0.0/16",), domain="ec2.internal", groups=groups, interfaces=interfaces)
