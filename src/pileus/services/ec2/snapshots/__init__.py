"""Snapshots of volumes. Importing this declares their operations."""

from pileus.services.ec2.snapshots import copying, creation, deletion, listing, locks, recycle_bin, sharing, tiers

__all__ = ["copying", "creation", "deletion", "listing", "locks", "recycle_bin", "sharing", "tiers"]
