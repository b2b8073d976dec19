"""The services of this cloud that a VPC can have an endpoint for, and the DNS names that mean them."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal

import msgspec


class EndpointService(msgspec.Struct, frozen=True, kw_only=True):
    """A service. ``target`` is what answers; ``gateway``: whether a gateway endpoint can be had, too."""

    name: str
    target: Literal["api", "s3"] = "api"
    gateway: bool = False

    def service_name(self, region: str) -> str:
        """E.g. ``com.amazonaws.us-east-1.ec2``."""
        return f"com.amazonaws.{region}.{self.name}"

    def dns_names(self, region: str) -> tuple[str, ...]:
        """The names under which clients look for the service in a region."""
        name = f"{self.name}.{region}.amazonaws.com"
        return (name, f"*.{name}") if self.target == "s3" else (name,)

    def base_dns_name(self, region: str) -> str:
        """Below this are the names of single endpoints."""
        return f"{self.name}.{region}.vpce.amazonaws.com"


SERVICES: Mapping[str, EndpointService] = {
    service.name: service
    for service in (
        EndpointService(name="ebs"),
        EndpointService(name="ec2"),
        EndpointService(name="kms"),
        EndpointService(name="monitoring"),
        EndpointService(name="rbin"),
        EndpointService(name="s3", target="s3", gateway=True),
        EndpointService(name="servicequotas"),
        EndpointService(name="ssm"),
        EndpointService(name="sts"),
    )
}
GLOBAL_NAMES: Mapping[str, Literal["api", "s3"]] = {
    "ec2.amazonaws.com": "api",
    "iam.amazonaws.com": "api",
    "sts.amazonaws.com": "api",
    "s3.amazonaws.com": "s3",
    "*.s3.amazonaws.com": "s3",
}
"""Names without a region."""


def named(service_name: str, region: str) -> EndpointService | None:
    """The service of a name such as ``com.amazonaws.us-east-1.s3``; None when this cloud does not have it."""
    prefix = f"com.amazonaws.{region}."
    return SERVICES.get(service_name.removeprefix(prefix)) if service_name.startswith(prefix) else None


def endpoint_dns_names(
    service: EndpointService, endpoint_id: str, region: str, zones: Iterable[str]
) -> tuple[str, ...]:
    """The names that mean one interface endpoint alone: all of its interfaces, and then those of each of its zones.

    E.g. ``vpce-0123456789abcdef0-1a2b3c4d.ec2.us-east-1.vpce.amazonaws.com``.
    """
    label = f"{endpoint_id}-{sha256(endpoint_id.encode()).hexdigest()[:8]}"
    base = service.base_dns_name(region)
    return (f"{label}.{base}", *(f"{label}-{zone}.{base}" for zone in zones))
