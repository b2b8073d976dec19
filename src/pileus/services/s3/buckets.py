"""Buckets: making, finding and deleting them.

Source: Amazon S3 user guide, "General purpose bucket naming rules", "General purpose bucket quotas".
"""

import base64
import binascii
import re
from ipaddress import IPv4Address
from typing import Any

from pileus.engines.objects.errors import BucketExists
from pileus.operations.context import Context
from pileus.services.s3 import acl, attributes, documents
from pileus.services.s3.errors import S3Error, denied, not_implemented, told
from pileus.services.s3.gate import enter
from pileus.services.s3.service import Params, part, s3

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_HEADS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_TAILS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_MOST = 10_000
OWNERSHIPS = frozenset({"BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"})


def check_name(name: str) -> None:
    """Raises S3Error unless a bucket may be called so."""
    if (
        not _NAME.fullmatch(name)
        or ".." in name
        or ".-" in name
        or "-." in name
        or _is_address(name)
        or name.startswith(_RESERVED_HEADS)
        or name.endswith(_RESERVED_TAILS)
    ):
        raise S3Error("InvalidBucketName", fields={"BucketName": name[:100]})


def _is_address(name: str) -> bool:
    try:
        IPv4Address(name)
    except ValueError:
        return False
    return True


@s3.waits("CreateBucket")
async def create_bucket(context: Context, params: Params) -> dict[str, Any]:
    """Makes a bucket: ACLs off and public access blocked, unless it is asked for otherwise."""
    if not context.account:
        raise denied()
    name = params["Bucket"]
    check_name(name)
    configuration = part(params, "CreateBucketConfiguration")
    if "Location" in configuration or "Bucket" in configuration or "BucketNamespace" in params:
        raise not_implemented("Directory buckets and account namespaces")
    region = _region(context, configuration.get("LocationConstraint"))
    ownership = params.get("ObjectOwnership", documents.ENFORCED)
    if ownership not in OWNERSHIPS:
        raise S3Error("InvalidArgument", f"Invalid x-amz-object-ownership header: {ownership[:100]}")
    wanted = acl.wanted(context, params, context.account, context.account)
    if acl.named(params) and params.get("ACL") != "private":
        if ownership == documents.ENFORCED:
            raise S3Error(
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            )
        if wanted.public and documents.BLOCK_ALL["BlockPublicAcls"]:
            raise S3Error(
                "InvalidBucketAclWithBlockPublicAccessError",
                "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
            )
    configs = {
        documents.OWNERSHIP: documents.dump({"Rules": [{"ObjectOwnership": ownership}]}),
        documents.PUBLIC_ACCESS: documents.dump(documents.BLOCK_ALL),
        documents.ACL: acl.dump(wanted),
    }
    tags = attributes.tags_of_document({"TagSet": configuration.get("Tags", [])}, attributes.MAX_BUCKET_TAGS)
    if tags:
        configs[documents.TAGGING] = documents.dump(tags)
    objects = context.env.objects()
    if len(await objects.buckets(context.account)) >= _MOST:
        raise S3Error("TooManyBuckets")
    try:
        await objects.create_bucket(
            name,
            account=context.account,
            region=region,
            object_lock=params.get("ObjectLockEnabledForBucket", False),
            configs=configs,
        )
    except BucketExists as error:
        if error.account != context.account:
            raise S3Error("BucketAlreadyExists", fields={"BucketName": name}) from error
        if error.region != region or region != "us-east-1":
            raise S3Error("BucketAlreadyOwnedByYou", fields={"BucketName": name}) from error
    return {"Location": f"/{name}", "BucketArn": f"arn:aws:s3:::{name}"}


def _region(context: Context, constraint: str | None) -> str:
    """Where the bucket shall be. Raises S3Error."""
    here = context.call.host_region or context.region
    known = [region.name for region in context.env.config.regions]
    if constraint is None:
        if here in {"us-east-1", context.env.config.default_region}:
            return here
        raise S3Error("IllegalLocationConstraintException")
    wanted = "eu-west-1" if constraint == "EU" else constraint
    if wanted == here:
        return here
    if wanted not in known or wanted == "us-east-1":
        raise S3Error("InvalidLocationConstraint", fields={"LocationConstraint": constraint[:100]})
    if here not in {"us-east-1", context.env.config.default_region}:
        raise S3Error(
            "IllegalLocationConstraintException",
            f"The {wanted} location constraint is incompatible for the region specific endpoint this request was sent to.",
        )
    return wanted


@s3.waits("DeleteBucket", resources=("bucket:Bucket",))
async def delete_bucket(context: Context, params: Params) -> dict[str, Any]:
    """Deletes an empty bucket."""
    gate = await enter(context, params)
    gate.require("s3:DeleteBucket")
    with told():
        await gate.objects.delete_bucket(gate.bucket.name)
    return {}


@s3.waits("HeadBucket", resources=("bucket:Bucket",))
async def head_bucket(context: Context, params: Params) -> dict[str, Any]:
    """Whether a bucket is there and may be used."""
    gate = await enter(context, params)
    gate.require("s3:ListBucket", "READ")
    return {
        "BucketRegion": gate.bucket.region,
        "AccessPointAlias": False,
        "BucketArn": f"arn:aws:s3:::{gate.bucket.name}",
    }


@s3.waits("GetBucketLocation", resources=("bucket:Bucket",))
async def get_bucket_location(context: Context, params: Params) -> dict[str, Any]:
    """The bucket's region, in S3's old spelling: nothing for us-east-1."""
    gate = await enter(context, params, anywhere=True)
    gate.require("s3:GetBucketLocation")
    region = gate.bucket.region
    return {"LocationConstraint": "" if region == "us-east-1" else region}


@s3.waits("ListBuckets")
async def list_buckets(context: Context, params: Params) -> dict[str, Any]:
    """The caller's buckets."""
    if not context.account:
        raise denied()
    most = params.get("MaxBuckets", _MOST)
    if not 1 <= most <= _MOST:
        raise S3Error("InvalidArgument", f"Argument max-buckets must be an integer between 1 and {_MOST}")
    after = _opened(params.get("ContinuationToken"))
    prefix = params.get("Prefix", "")
    found = await context.env.objects().buckets(
        context.account, prefix=prefix, after=after, limit=most + 1, region=params.get("BucketRegion")
    )
    page = found[:most]
    return {
        "Owner": acl.owner_shape(context.account),
        "Buckets": [
            {
                "Name": bucket.name,
                "CreationDate": bucket.created,
                "BucketRegion": bucket.region,
                "BucketArn": f"arn:aws:s3:::{bucket.name}",
            }
            for bucket in page
        ],
        "ContinuationToken": _token(page[-1].name) if len(found) > most else None,
        "Prefix": prefix or None,
    }


def _token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _opened(token: str | None) -> str:
    if token is None:
        return ""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None
