"""Recycle Bin: rules that say how long deleted snapshots and images can be restored. Importing it declares its operations.

What the rules keep is in ``services.ec2``; see https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin.html.
"""

from pileus.services.rbin import locks, rules, tags
from pileus.services.rbin.service import rbin

__all__ = ["locks", "rbin", "rules", "tags"]
