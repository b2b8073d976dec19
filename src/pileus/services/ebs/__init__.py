"""The EBS direct APIs: snapshots read and written block by block. Importing the package declares all of its operations.

Blocks go straight to and from the block store; what is on record is the snapshot. While one is written, its blocks are a
draft in the block store (durable when PutSnapshotBlock answers); CompleteSnapshot lets the storage process make the
snapshot of it. See https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html.
"""

from pileus.services.ebs import completing, reading, starting, writing
from pileus.services.ebs.service import ebs

__all__ = ["completing", "ebs", "reading", "starting", "writing"]
