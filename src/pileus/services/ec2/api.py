"""The whole of EC2: importing this declares all of its operations."""

from pileus.services.ec2 import (
    account_attributes,
    addresses,
    images,
    instance_types,
    instances,
    internet_gateways,
    key_pairs,
    network_acls,
    network_interfaces,
    regions,
    route_tables,
    security_group_rules,
    security_groups,
    subnets,
    tags,
    volumes,
    vpcs,
)
from pileus.services.ec2.service import ec2

__all__ = [
    "account_attributes",
    "addresses",
    "ec2",
    "images",
    "instance_types",
    "instances",
    "internet_gateways",
    "key_pairs",
    "network_acls",
    "network_interfaces",
    "regions",
    "route_tables",
    "security_group_rules",
    "security_groups",
    "subnets",
    "tags",
    "volumes",
    "vpcs",
]
