"""Instances: launching, listing, power, attributes, status and console."""

from pileus.services.ec2.instances import (
    attributes,
    console,
    credits,  # noqa: A004 - EC2's word
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
    "credits",
    "listing",
    "metadata_options",
    "modification",
    "monitoring",
    "power",
    "run",
    "status",
]
