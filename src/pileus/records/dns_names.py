"""DNS names that EC2 gives to addresses.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html#vpc-dns.
"""

from pileus.records.network_interface import NetworkInterface, PrivateAddress
from pileus.records.vpc import Vpc


def private_domain(region: str) -> str:
    """The domain of private names: ``ec2.internal`` in us-east-1, ``REGION.compute.internal`` elsewhere."""
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def private_name(region: str, address: str) -> str:
    """E.g. ``ip-172-31-0-5.ec2.internal``."""
    return f"ip-{address.replace('.', '-')}.{private_domain(region)}"


def public_domain(region: str) -> str:
    """The domain of public names: ``compute-1.amazonaws.com`` in us-east-1, ``REGION.compute.amazonaws.com`` elsewhere."""
    return "compute-1.amazonaws.com" if region == "us-east-1" else f"{region}.compute.amazonaws.com"


def public_name(region: str, address: str) -> str:
    """E.g. ``ec2-203-0-113-25.compute-1.amazonaws.com``."""
    return f"ec2-{address.replace('.', '-')}.{public_domain(region)}"


def resource_name(region: str, instance_id: str) -> str:
    """E.g. ``i-0123456789abcdef.ec2.internal``."""
    return f"{instance_id}.{private_domain(region)}"


def gives_names(vpc: Vpc | None) -> bool:
    """Whether a VPC's resolver knows the names of addresses. It takes both of the VPC's attributes."""
    return vpc is not None and vpc.dns_support and vpc.dns_hostnames


def public_name_at(vpc: Vpc | None, region: str, one: PrivateAddress) -> str:
    """The public name of an address; empty where it has no public one, a carrier's, or its VPC gives no names."""
    if one.public is None or one.carrier or not gives_names(vpc):
        return ""
    return public_name(region, one.public)


def public_name_in(vpc: Vpc | None, interface: NetworkInterface) -> str:
    """The public name of an interface's primary address; empty where it has none."""
    return public_name_at(vpc, interface.region, interface.primary)
