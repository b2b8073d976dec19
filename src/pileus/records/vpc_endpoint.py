"""VPC endpoints."""

from datetime import datetime
from typing import ClassVar, Literal

from pileus.records.tagged import Tagged


class VpcEndpoint(Tagged, frozen=True, kw_only=True):
    """A way from a VPC to a service of the cloud.

    Attributes:
        service_name: e.g. ``com.amazonaws.us-east-1.s3``.
        route_table_ids: of a gateway endpoint; each has a route to it. The others are an interface endpoint's.
        private_dns: whether the service's own names mean the endpoint inside of the VPC.
        policy: an IAM policy document; None: everything is allowed.
    """

    kind: ClassVar[str] = "vpc-endpoint"
    indexes: ClassVar[tuple[str, ...]] = ("vpc_id", "interface_ids", "subnet_ids", "groups", "route_table_ids")

    vpc_id: str
    service_name: str
    endpoint_type: Literal["Gateway", "Interface"]
    created: datetime
    route_table_ids: tuple[str, ...] = ()
    subnet_ids: tuple[str, ...] = ()
    interface_ids: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    private_dns: bool = False
    policy: str | None = None
    state: Literal["pending", "available", "deleting", "deleted"] = "available"
