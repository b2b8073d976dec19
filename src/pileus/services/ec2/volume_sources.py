"""New volumes, which start as nothing, an image or a snapshot. Called by CreateVolume and RunInstances."""

from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.records import Snapshot, Volume
from pileus.records.volume import GIB
from pileus.services.ec2.encryption import encryption_of
from pileus.services.ec2.volume_types import Settings


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    """What a call says of a new volume's encryption."""

    encrypted: bool | None = None
    kms_key_id: str | None = None


def new_volume(
    context: Context,
    settings: Settings,
    zone: str,
    *,
    source: Snapshot | None = None,
    content: str | None = None,
    encryption: Encryption | None = None,
    tags: Mapping[str, str] | None = None,
    **fields: Any,
) -> Volume:
    """A volume that is not on record yet. ``content``: the image that it starts as, where that is known without ``source``.

    Raises what ``encryption_of`` raises.
    """
    wanted = encryption or Encryption()
    source_key = source.data_key_id if source else None
    return Volume(
        id=new_id("vol"),
        account=context.account,
        region=context.region,
        tags=tags or {},
        zone=zone,
        size=settings.size,
        created=context.now,
        volume_type=settings.volume_type,
        iops=settings.iops,
        throughput=settings.throughput,
        data_key_id=encryption_of(context, wanted.encrypted, wanted.kms_key_id, source_key),
        snapshot_id=source.id if source else None,
        image_content=source.content if source else content,
        source_root=source.root if source else None,
        source_bytes=source.size * GIB if source and source.root else 0,
        source_key_id=source_key if source and source.root else None,
        filled=source is None or source.root is None,
        **fields,
    )
