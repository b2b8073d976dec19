"""PutObject: a body that streams into the object store."""

from typing import Any

from pileus.operations.context import Context
from pileus.services.s3 import attributes, checksums, conditions, encryption
from pileus.services.s3.errors import S3Error, not_implemented, told
from pileus.services.s3.gate import enter
from pileus.services.s3.service import Params, s3


@s3.waits("PutObject", resources=("object:Key",), streams=True)
async def put_object(context: Context, params: Params) -> dict[str, Any]:
    """Stores an object. Nothing of it is seen before all of it came and was found to be what was announced."""
    key = attributes.check_key(params["Key"])
    gate = await enter(context, params)
    gate.require("s3:PutObject", "WRITE", key)
    body = context.call.body
    assert body is not None
    if "WriteOffsetBytes" in params:
        raise not_implemented("Appending to objects")
    if body.length is not None and body.length > 5 * 1024**3:
        raise S3Error("EntityTooLarge", fields={"ProposedSize": body.length, "MaxSizeAllowed": 5 * 1024**3})
    digests = checksums.of_body(params, body)
    wanted = conditions.of_write(params)
    chosen, data_key = await encryption.choose(context, gate.bucket, key, params)
    given = attributes.of_new(gate, params, chosen)
    with told():
        version = await gate.objects.put(
            gate.bucket.name,
            key,
            aiter(body),
            attributes=given,
            digests=digests,
            conditions=wanted,
            data_key=data_key,
        )
    return {
        "ETag": f'"{version.etag}"',
        "VersionId": attributes.made_id(gate.bucket, version),
        **checksums.told(version.checksum),
        **encryption.shape(chosen),
    }
