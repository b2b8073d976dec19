"""AWS Key Management Service. Importing the package declares all of its operations."""

from pileus.services.kms import (
    aliases,
    encryption,
    grants,
    imports,
    keys,
    lifecycle,
    macs,
    pairs,
    policies,
    rotation,
    signing,
    tags,
)
from pileus.services.kms.service import kms

__all__ = [
    "aliases",
    "encryption",
    "grants",
    "imports",
    "keys",
    "kms",
    "lifecycle",
    "macs",
    "pairs",
    "policies",
    "rotation",
    "signing",
    "tags",
]
