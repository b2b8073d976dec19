"""Instances: launching, listing, power, attributes, status and console."""

from pileus.services.ec2.instances import (
    attributes,
    console,
    credit_options,
    dns_options,
    listing,
    metadata_options,
    modification,
    monitoring,
    power,
    run,
    status,
)

__all__ = [
    "attributes",
    "console",
    "credit_options",
    "dns_options",
    "listing",
    "metadata_options",
    "modification",
    "monitoring",
    "power",
    "run",
    "status",
]
