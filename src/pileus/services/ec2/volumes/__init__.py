"""Volumes: making, attaching, changing and describing them. One verb per file; importing this declares all operations."""

from pileus.services.ec2.volumes import attachment, creation, listing, modification, status

__all__ = ["attachment", "creation", "listing", "modification", "status"]
