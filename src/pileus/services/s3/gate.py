"""Who may do what with a bucket and its objects. Every operation passes here before it touches anything.

The account that owns a bucket may do everything that its policy does not deny. Others, and callers without a signature, may do
what the policy allows or an ACL grants, as far as Block Public Access lets it. Source: Amazon S3 user guide, "How Amazon S3
authorizes a request", "Blocking public access".
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from pileus.engines.objects import errors as engine
from pileus.engines.objects.interface import Objects
from pileus.engines.objects.model import Bucket, ObjectVersion
from pileus.operations.call import Identity
from pileus.operations.context import Context
from pileus.services.s3 import access, acl, documents, encryption
from pileus.services.s3.acl import Permission
from pileus.services.s3.errors import S3Error, denied, told

_OWNERS_ALWAYS = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})
"""What the owning account may do whatever its policy denies, so that it can't lock itself out."""
_PARAMETERS = {
    "s3:delimiter": "Delimiter",
    "s3:max-keys": "MaxKeys",
    "s3:prefix": "Prefix",
    "s3:versionid": "VersionId",
    "s3:x-amz-acl": "ACL",
    "s3:x-amz-copy-source": "CopySource",
    "s3:x-amz-grant-full-control": "GrantFullControl",
    "s3:x-amz-grant-read": "GrantRead",
    "s3:x-amz-grant-read-acp": "GrantReadACP",
    "s3:x-amz-grant-write": "GrantWrite",
    "s3:x-amz-grant-write-acp": "GrantWriteACP",
    "s3:x-amz-metadata-directive": "MetadataDirective",
    "s3:x-amz-server-side-encryption": "ServerSideEncryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "s3:x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
    "s3:x-amz-storage-class": "StorageClass",
    "s3:object-lock-mode": "ObjectLockMode",
    "s3:object-lock-legal-hold": "ObjectLockLegalHoldStatus",
}
"""Condition keys that are parameters of the request."""


class Gate:
    """One caller before one bucket."""

    def __init__(self, context: Context, bucket: Bucket, params: Mapping[str, Any]) -> None:
        self.context = context
        self.bucket = bucket
        self.params = params
        self._policy = bucket.configs.get(documents.POLICY)
        self.owner = context.account != "" and context.account == bucket.account

    @property
    def objects(self) -> Objects:
        """The data plane."""
        return self.context.env.objects()

    def may(
        self, action: str, key: str = "", permission: Permission | None = None, tags: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the caller may, by policy or by the bucket's own ACL. ``tags`` are the existing object's."""
        effect = self._by_policy(action, key, tags)
        if self.owner:
            return effect != "Deny" or action in _OWNERS_ALWAYS
        if effect is not None:
            return effect == "Allow"
        if permission is None:
            return False
        return self._by_acl(self.bucket.configs.get(documents.ACL, b""), self.bucket.account, permission)

    def _by_acl(self, document: bytes, owner: str, permission: Permission) -> bool:
        if documents.ownership(self.bucket) == documents.ENFORCED:
            return False
        ignore = documents.blocks(self.bucket).get("IgnorePublicAcls", False)
        return acl.load(document, owner).allows(self.context.call.identity, permission, ignore_public=ignore)

    def _by_policy(self, action: str, key: str, tags: Mapping[str, str] | None) -> access.Effect | None:
        if self._policy is None:
            return None
        policy = access.read_policy(self._policy, self.bucket.name)
        identity = self.context.call.identity
        request = access.Request(
            account=identity.account,
            arn=identity.arn,
            action=action,
            resource=f"arn:aws:s3:::{self.bucket.name}" + (f"/{key}" if key else ""),
            conditions=_conditions(self.context, self.params, tags),
        )
        effect = access.decide(policy, request)
        restricted = documents.blocks(self.bucket).get("RestrictPublicBuckets", False)
        if effect == "Allow" and restricted and not self.owner and access.is_public(policy):
            return None
        return effect

    def require(self, action: str, permission: Permission | None = None, key: str = "") -> None:
        """Raises AccessDenied."""
        if not self.may(action, key, permission):
            raise self._refusal(action, key)

    def _refusal(self, action: str, key: str) -> S3Error:
        identity = self.context.call.identity
        if not identity.account:
            return denied()
        resource = f"arn:aws:s3:::{self.bucket.name}" + (f"/{key}" if key else "")
        return denied(f"User: {identity.arn} is not authorized to perform: {action} on resource: {resource}")

    async def require_object(
        self, action: str, key: str, version_id: str | None, permission: Permission | None = None
    ) -> None:
        """For operations on an object that is there: by policy, or by the object's ACL.

        Raises:
            S3Error: AccessDenied; also where the object is missing and the caller may not list the bucket.
        """
        by_tags = self._policy is not None and b"xistingobjecttag" in self._policy.lower()
        if self.owner and not by_tags:
            self.require(action, None, key)
            return
        found = None
        try:
            found = await self.objects.head(self.bucket.name, key, version_id)
        except engine.ObjectsError:
            if not self.may("s3:ListBucket", permission="READ"):
                raise self._refusal(action, key) from None
        if not self.may(action, key, tags=found.attributes.tags if found else {}) and not (
            found is not None and permission is not None and self._object_acl(action, found, permission)
        ):
            if found is None:
                return  # who may list may know that it is not there
            raise self._refusal(action, key)

    def _object_acl(self, action: str, found: ObjectVersion, permission: Permission) -> bool:
        if self._by_policy(action, found.key, found.attributes.tags) == "Deny":
            return False
        return self._by_acl(found.attributes.acl, found.attributes.owner or self.bucket.account, permission)

    def check_acl(self, wanted: acl.Acl, *, said: bool) -> None:
        """Refuses an ACL that the bucket does not take. ``said``: whether the request had one. Raises S3Error."""
        if not said:
            return
        if documents.ownership(self.bucket) == documents.ENFORCED:
            canned = self.params.get("ACL")
            full = all(grant == acl.Grant(self.bucket.account, "FULL_CONTROL") for grant in wanted.grants)
            if canned not in {"private", "bucket-owner-full-control"} and not full:
                raise S3Error("AccessControlListNotSupported")
            if canned == "private" and "Key" not in self.params:
                return
        if wanted.public and documents.blocks(self.bucket).get("BlockPublicAcls", False):
            raise denied()


async def enter(context: Context, params: Mapping[str, Any], *, anywhere: bool = False) -> Gate:
    """The gate of the bucket that a request names.

    ``anywhere``: whether the operation answers whatever region the request was signed for.

    Raises:
        S3Error: there is no such bucket, it is another's than expected, it is in another region, or a customer's key came
            over a network that others can read.
    """
    encryption.check_transport(context.call, params)
    name = params["Bucket"]
    with told():
        bucket = await context.env.objects().bucket(name)
    expected = params.get("ExpectedBucketOwner")
    if expected is not None and expected != bucket.account:
        raise denied()
    if not anywhere:
        _check_region(context, bucket)
    return Gate(context, bucket, params)


def _check_region(context: Context, bucket: Bucket) -> None:
    call = context.call
    headers = {"x-amz-bucket-region": bucket.region}
    if call.host_region and call.host_region != bucket.region:
        fields = {"Bucket": bucket.name, "Endpoint": f"{bucket.name}.s3.{bucket.region}", "Region": bucket.region}
        raise S3Error("PermanentRedirect", fields=fields, headers=headers)
    if call.identity.account and call.region != bucket.region:
        raise S3Error(
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the region '{call.region}' is wrong; expecting '{bucket.region}'",
            fields={"Region": bucket.region},
            headers=headers,
        )


def _conditions(
    context: Context, params: Mapping[str, Any], tags: Mapping[str, str] | None
) -> Mapping[str, tuple[str, ...]]:
    call = context.call
    found: dict[str, tuple[str, ...]] = {
        "aws:currenttime": (call.now.isoformat(),),
        "aws:epochtime": (str(int(call.now.timestamp())),),
        "aws:securetransport": ("true" if call.secure else "false",),
        "aws:useragent": (call.user_agent,),
        **_principal(call.identity),
    }
    if call.source_arn:
        found |= {"aws:sourcearn": (call.source_arn,), "aws:sourceaccount": (call.identity.account,)}
    if call.source_vpc:
        # Through an endpoint there is no public address that a policy could mean.
        found |= {"aws:sourcevpc": (call.source_vpc,), "aws:sourcevpce": (call.source_endpoint,)}
        found["aws:vpcsourceip"] = (call.source_address,)
    elif call.source_address:
        found["aws:sourceip"] = (call.source_address,)
    if call.referer:
        found["aws:referer"] = (call.referer,)
    for name, parameter in _PARAMETERS.items():
        if parameter in params:
            found[name] = (str(params[parameter]),)
    if isinstance(params.get("Tagging"), str):
        asked = dict(parse_qsl(params["Tagging"], keep_blank_values=True))
        found["s3:requestobjecttagkeys"] = tuple(asked)
        found.update({f"s3:requestobjecttag/{name}": (value,) for name, value in asked.items()})
    elif "Tagging" in params:
        asked = {tag.get("Key", ""): tag.get("Value", "") for tag in params["Tagging"].get("TagSet", ())}
        found["s3:requestobjecttagkeys"] = tuple(asked)
        found.update({f"s3:requestobjecttag/{name}": (value,) for name, value in asked.items()})
    for name, value in (tags or {}).items():
        found[f"s3:existingobjecttag/{name}"] = (value,)
    return found


def _principal(identity: Identity) -> dict[str, tuple[str, ...]]:
    if not identity.account:
        return {}
    return {
        "aws:principalarn": (identity.arn,),
        "aws:principalaccount": (identity.account,),
        "aws:userid": (identity.user_id,),
    }
