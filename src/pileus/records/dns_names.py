"""DNS names that EC2 gives to addresses.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-instance-addressing.html#vpc-dns.
"""

from pileus.records.network_interface import NetworkInterface
from pileus.records.vpc import Vpc


def private_domain(region: str) -> str:
    """The domain of private names: ``ec2.internal`` in us-east-1, ``REGION.compute.internal`` elsewhere."""
    return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"


def private_name(region: str, address: str) -> str:
    """E.g. ``ip-172-31-0-5.ec2.internal``."""
    return f"ip-{address.replace('.', '-')}.{private_domain(region)}"


def public_name(region: str, address: str) -> str:
    """E.g. ``ec2-203-0-113-25.compute-1.amazonaws.com``."""
    domain = "compute-1" if region == "us-east-1" else f"{region}.compute"
    return f"ec2-{address.replace('.', '-')}.{domain}.amazonaws.com"


def public_name_in(vpc: Vpc | None, interface: NetworkInterface) -> str:
    """The public name of an interface; empty where it has no address or its VPC gives no names."""
    if interface.public_address is None or vpc is None or not vpc.dns_hostnames:
        return ""
    return public_name(interface.region, interface.public_address)
