"""Instances: launching, listing, power, attributes, status and console."""

from pileus.services.ec2.instances import attributes, console, listing, metadata_options, power, run, status

__all__ = ["attributes", "console", "listing", "metadata_options", "power", "run", "status"]
