"""Machine images. Importing this declares their operations."""

from pileus.services.ec2.images import (
    allowed,
    attributes,
    copying,
    creation,
    listing,
    recycle_bin,
    registration,
    removal,
    states,
)
from pileus.services.ec2.images.listing import launchable_image, visible_image

__all__ = [
    "allowed",
    "attributes",
    "copying",
    "creation",
    "launchable_image",
    "listing",
    "recycle_bin",
    "registration",
    "removal",
    "states",
    "visible_image",
]
