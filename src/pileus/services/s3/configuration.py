"""A bucket's settings, but for lifecycle (``lifecycle``), object lock (``lock``) and CORS (``cors``).

What would have no effect here is refused when it is set, and told as not set when it is asked for.
"""

from typing import Any

from pileus.operations import keys
from pileus.operations.context import Context
from pileus.services.s3 import access, acl, attributes, documents, encryption
from pileus.services.s3.buckets import OWNERSHIPS
from pileus.services.s3.errors import S3Error, denied, malformed, not_implemented, told
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.service import Params, part, s3

_BUCKET = ("bucket:Bucket",)


async def permitted(context: Context, params: Params, action: str) -> Gate:
    """The gate, for who may do this to the bucket's settings. Raises S3Error."""
    gate = await enter(context, params)
    gate.require(f"s3:{action}")
    return gate


async def store(gate: Gate, name: str, value: Any) -> None:
    """Replaces one of the bucket's documents; None removes it."""
    with told():
        await gate.objects.set_configs(gate.bucket.name, {name: None if value is None else documents.dump(value)})


def present(gate: Gate, name: str, missing: str) -> Any:
    """One of the bucket's documents. Raises S3Error with the code ``missing`` where there is none."""
    value = documents.load(gate.bucket, name)
    if value is None:
        raise S3Error(missing, fields={"BucketName": gate.bucket.name})
    return value


# Versioning


@s3.waits("GetBucketVersioning", resources=_BUCKET)
async def get_bucket_versioning(context: Context, params: Params) -> dict[str, Any]:
    """``Enabled``, ``Suspended``, or nothing."""
    gate = await permitted(context, params, "GetBucketVersioning")
    return {"Status": gate.bucket.versioning or None}


@s3.waits("PutBucketVersioning", resources=_BUCKET)
async def put_bucket_versioning(context: Context, params: Params) -> dict[str, Any]:
    """Turns versioning on, or off for what comes."""
    gate = await permitted(context, params, "PutBucketVersioning")
    wanted = params.get("VersioningConfiguration", {})
    if wanted.get("MFADelete") == "Enabled" or "MFA" in params:
        raise not_implemented("MFA Delete")
    status = wanted.get("Status")
    if status is None:
        raise S3Error("IllegalVersioningConfigurationException")
    if status not in {"Enabled", "Suspended"}:
        raise malformed()
    with told():
        await gate.objects.set_versioning(gate.bucket.name, status)
    return {}


# Policy


@s3.waits("GetBucketPolicy", resources=_BUCKET)
async def get_bucket_policy(context: Context, params: Params) -> dict[str, Any]:
    """The policy, as it was put."""
    gate = await permitted(context, params, "GetBucketPolicy")
    return {"Policy": _policy(gate).decode()}


@s3.waits("PutBucketPolicy", resources=_BUCKET)
async def put_bucket_policy(context: Context, params: Params) -> dict[str, Any]:
    """Sets the policy, when all of it can be evaluated."""
    gate = await permitted(context, params, "PutBucketPolicy")
    if not gate.owner:
        raise S3Error("MethodNotAllowed")
    text = params.get("Policy", "").encode()
    if len(text) > access.MAX_POLICY:
        raise access.MalformedPolicy("Policies must be at most 20 KB")
    policy = access.read_policy(text, gate.bucket.name)
    if documents.blocks(gate.bucket).get("BlockPublicPolicy") and access.is_public(policy):
        raise denied(
            f"User: {context.call.identity.arn} is not authorized to perform: s3:PutBucketPolicy on resource: "
            f'"arn:aws:s3:::{gate.bucket.name}" because public policies are prevented by the BlockPublicPolicy setting in '
            "S3 Block Public Access."
        )
    with told():
        await gate.objects.set_configs(gate.bucket.name, {documents.POLICY: text})
    return {}


@s3.waits("DeleteBucketPolicy", resources=_BUCKET)
async def delete_bucket_policy(context: Context, params: Params) -> dict[str, Any]:
    """Removes the policy."""
    gate = await permitted(context, params, "DeleteBucketPolicy")
    with told():
        await gate.objects.set_configs(gate.bucket.name, {documents.POLICY: None})
    return {}


@s3.waits("GetBucketPolicyStatus", resources=_BUCKET)
async def get_bucket_policy_status(context: Context, params: Params) -> dict[str, Any]:
    """Whether the policy makes the bucket public."""
    gate = await permitted(context, params, "GetBucketPolicyStatus")
    return {"PolicyStatus": {"IsPublic": access.is_public(access.read_policy(_policy(gate), gate.bucket.name))}}


def _policy(gate: Gate) -> bytes:
    policy = gate.bucket.configs.get(documents.POLICY)
    if policy is None:
        raise S3Error("NoSuchBucketPolicy", fields={"BucketName": gate.bucket.name})
    return policy


# Public access block and ownership


@s3.waits("GetPublicAccessBlock", resources=_BUCKET)
async def get_public_access_block(context: Context, params: Params) -> dict[str, Any]:
    """The four switches."""
    gate = await permitted(context, params, "GetBucketPublicAccessBlock")
    found = present(gate, documents.PUBLIC_ACCESS, "NoSuchPublicAccessBlockConfiguration")
    return {"PublicAccessBlockConfiguration": found}


@s3.waits("PutPublicAccessBlock", resources=_BUCKET)
async def put_public_access_block(context: Context, params: Params) -> dict[str, Any]:
    """Sets all four switches; those that are not named are off."""
    gate = await permitted(context, params, "PutBucketPublicAccessBlock")
    wanted = params.get("PublicAccessBlockConfiguration")
    if not wanted:
        raise malformed()
    await store(gate, documents.PUBLIC_ACCESS, {name: bool(wanted.get(name)) for name in documents.BLOCK_ALL})
    return {}


@s3.waits("DeletePublicAccessBlock", resources=_BUCKET)
async def delete_public_access_block(context: Context, params: Params) -> dict[str, Any]:
    """Blocks nothing any more."""
    await store(await permitted(context, params, "PutBucketPublicAccessBlock"), documents.PUBLIC_ACCESS, None)
    return {}


@s3.waits("GetBucketOwnershipControls", resources=_BUCKET)
async def get_bucket_ownership_controls(context: Context, params: Params) -> dict[str, Any]:
    """Who owns objects that others put here."""
    gate = await permitted(context, params, "GetBucketOwnershipControls")
    return {"OwnershipControls": present(gate, documents.OWNERSHIP, "OwnershipControlsNotFoundError")}


@s3.waits("PutBucketOwnershipControls", resources=_BUCKET)
async def put_bucket_ownership_controls(context: Context, params: Params) -> dict[str, Any]:
    """Sets it; ACLs that grant others anything must be gone before they are turned off."""
    gate = await permitted(context, params, "PutBucketOwnershipControls")
    rules = part(params, "OwnershipControls").get("Rules", [])
    if len(rules) != 1 or rules[0].get("ObjectOwnership") not in OWNERSHIPS:
        raise malformed()
    wanted = rules[0]["ObjectOwnership"]
    current = acl.load(gate.bucket.configs.get(documents.ACL, b""), gate.bucket.account)
    if wanted == documents.ENFORCED and any(grant.grantee != gate.bucket.account for grant in current.grants):
        raise S3Error(
            "InvalidBucketAclWithObjectOwnership",
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
        )
    await store(gate, documents.OWNERSHIP, {"Rules": [{"ObjectOwnership": wanted}]})
    return {}


@s3.waits("DeleteBucketOwnershipControls", resources=_BUCKET)
async def delete_bucket_ownership_controls(context: Context, params: Params) -> dict[str, Any]:
    """Back to what buckets had before there were such controls: ObjectWriter."""
    await store(await permitted(context, params, "PutBucketOwnershipControls"), documents.OWNERSHIP, None)
    return {}


# Encryption


@s3.waits("GetBucketEncryption", resources=_BUCKET)
async def get_bucket_encryption(context: Context, params: Params) -> dict[str, Any]:
    """How objects are encrypted that don't say it themselves."""
    gate = await permitted(context, params, "GetEncryptionConfiguration")
    found = documents.load(gate.bucket, documents.ENCRYPTION) or encryption.DEFAULT_RULE
    return {"ServerSideEncryptionConfiguration": found}


@s3.waits("PutBucketEncryption", resources=_BUCKET)
async def put_bucket_encryption(context: Context, params: Params) -> dict[str, Any]:
    """Sets that."""
    gate = await permitted(context, params, "PutEncryptionConfiguration")
    rules = part(params, "ServerSideEncryptionConfiguration").get("Rules", [])
    default = rules[0].get("ApplyServerSideEncryptionByDefault") if len(rules) == 1 else None
    if default is None or default.get("SSEAlgorithm") not in {"AES256", "aws:kms", "aws:kms:dsse"}:
        raise malformed()
    if rules[0].get("BlockedEncryptionTypes", {}).get("EncryptionType", ["NONE"]) != ["NONE"]:
        raise not_implemented("Blocking types of encryption")
    key = default.get("KMSMasterKeyID")
    if key is not None and default["SSEAlgorithm"] == "AES256":
        raise S3Error(
            "InvalidArgument",
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
        )
    if key is not None:
        with told():
            keys.find_key(context.view, context.account, context.region, key)
    rule = {
        "ApplyServerSideEncryptionByDefault": dict(default),
        "BucketKeyEnabled": rules[0].get("BucketKeyEnabled", False),
    }
    await store(gate, documents.ENCRYPTION, {"Rules": [rule]})
    return {}


@s3.waits("DeleteBucketEncryption", resources=_BUCKET)
async def delete_bucket_encryption(context: Context, params: Params) -> dict[str, Any]:
    """Back to SSE-S3."""
    await store(await permitted(context, params, "PutEncryptionConfiguration"), documents.ENCRYPTION, None)
    return {}


# Tags


@s3.waits("GetBucketTagging", resources=_BUCKET)
async def get_bucket_tagging(context: Context, params: Params) -> dict[str, Any]:
    """The bucket's tags."""
    gate = await permitted(context, params, "GetBucketTagging")
    tags = present(gate, documents.TAGGING, "NoSuchTagSet")
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


@s3.waits("PutBucketTagging", resources=_BUCKET)
async def put_bucket_tagging(context: Context, params: Params) -> dict[str, Any]:
    """Replaces them."""
    gate = await permitted(context, params, "PutBucketTagging")
    tags = attributes.tags_of_document(part(params, "Tagging"), attributes.MAX_BUCKET_TAGS)
    await store(gate, documents.TAGGING, tags or None)
    return {}


@s3.waits("DeleteBucketTagging", resources=_BUCKET)
async def delete_bucket_tagging(context: Context, params: Params) -> dict[str, Any]:
    """Removes them."""
    await store(await permitted(context, params, "PutBucketTagging"), documents.TAGGING, None)
    return {}


# What is not offered: it can be turned off, and is found off.


@s3.waits("GetBucketWebsite", resources=_BUCKET)
async def get_bucket_website(context: Context, params: Params) -> dict[str, Any]:
    """There are no website endpoints."""
    await permitted(context, params, "GetBucketWebsite")
    raise S3Error("NoSuchWebsiteConfiguration", fields={"BucketName": params["Bucket"]})


@s3.waits("DeleteBucketWebsite", resources=_BUCKET)
async def delete_bucket_website(context: Context, params: Params) -> dict[str, Any]:
    """There is none to remove."""
    await permitted(context, params, "DeleteBucketWebsite")
    return {}


@s3.waits("GetBucketReplication", resources=_BUCKET)
async def get_bucket_replication(context: Context, params: Params) -> dict[str, Any]:
    """There is no replication."""
    await permitted(context, params, "GetReplicationConfiguration")
    raise S3Error("ReplicationConfigurationNotFoundError", fields={"BucketName": params["Bucket"]})


@s3.waits("DeleteBucketReplication", resources=_BUCKET)
async def delete_bucket_replication(context: Context, params: Params) -> dict[str, Any]:
    """There is none to remove."""
    await permitted(context, params, "PutReplicationConfiguration")
    return {}


@s3.waits("GetBucketLogging", resources=_BUCKET)
async def get_bucket_logging(context: Context, params: Params) -> dict[str, Any]:
    """Off."""
    await permitted(context, params, "GetBucketLogging")
    return {}


@s3.waits("PutBucketLogging", resources=_BUCKET)
async def put_bucket_logging(context: Context, params: Params) -> dict[str, Any]:
    """Can be turned off."""
    await permitted(context, params, "PutBucketLogging")
    if part(params, "BucketLoggingStatus").get("LoggingEnabled") is not None:
        raise not_implemented("Server access logging")
    return {}


@s3.waits("GetBucketNotificationConfiguration", resources=_BUCKET)
async def get_bucket_notification_configuration(context: Context, params: Params) -> dict[str, Any]:
    """None."""
    await permitted(context, params, "GetBucketNotification")
    return {}


@s3.waits("PutBucketNotificationConfiguration", resources=_BUCKET)
async def put_bucket_notification_configuration(context: Context, params: Params) -> dict[str, Any]:
    """Can be emptied."""
    await permitted(context, params, "PutBucketNotification")
    if any(value is not None and value != [] for value in part(params, "NotificationConfiguration").values()):
        raise not_implemented("Event notification")
    return {}


@s3.waits("GetBucketRequestPayment", resources=_BUCKET)
async def get_bucket_request_payment(context: Context, params: Params) -> dict[str, Any]:
    """The owner pays."""
    await permitted(context, params, "GetBucketRequestPayment")
    return {"Payer": "BucketOwner"}


@s3.waits("PutBucketRequestPayment", resources=_BUCKET)
async def put_bucket_request_payment(context: Context, params: Params) -> dict[str, Any]:
    """Can be left as it is."""
    await permitted(context, params, "PutBucketRequestPayment")
    payer = part(params, "RequestPaymentConfiguration").get("Payer")
    if payer == "Requester":
        raise not_implemented("Payment by the requester")
    if payer != "BucketOwner":
        raise malformed()
    return {}


@s3.waits("GetBucketAccelerateConfiguration", resources=_BUCKET)
async def get_bucket_accelerate_configuration(context: Context, params: Params) -> dict[str, Any]:
    """Never set."""
    await permitted(context, params, "GetAccelerateConfiguration")
    return {}


@s3.waits("PutBucketAccelerateConfiguration", resources=_BUCKET)
async def put_bucket_accelerate_configuration(context: Context, params: Params) -> dict[str, Any]:
    """Can be suspended."""
    await permitted(context, params, "PutAccelerateConfiguration")
    status = part(params, "AccelerateConfiguration").get("Status")
    if status == "Enabled":
        raise not_implemented("Transfer acceleration")
    if status != "Suspended":
        raise malformed()
    return {}
