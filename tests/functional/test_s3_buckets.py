"""What buckets can be set to, and what that does: versions, tags, locks, lifecycle, encryption."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from awaitable_client import Awaitable
from s3_requests import bytes_of

from pileus.services.s3 import lifecycle

BUCKET = "the-bucket"


@pytest.fixture
async def s3(cloud):
    client = Awaitable(cloud.client("s3"))
    await client.create_bucket(Bucket=BUCKET)
    return client


async def put(s3, key="key", body=b"body", bucket=BUCKET, **params):
    return await s3.put_object(Bucket=bucket, Key=key, Body=body, **params)


@pytest.mark.parametrize(
    "name",
    ["Upper-case", "a_b", "192.168.0.1", "a..b", "ab-.c", "-ab", "xn--a", "a-s3alias", "sthree-a", "x" * 64],
)
async def test_names_that_no_bucket_can_have(cloud, name):
    client = cloud.client("s3")
    client.meta.events.unregister("before-parameter-build.s3", None)
    assert (await Awaitable(client).refusal("create_bucket", Bucket=name))[0] == "InvalidBucketName"


async def test_buckets(s3):
    await s3.create_bucket(Bucket=BUCKET)  # once more, in us-east-1: it is there already
    for name in ("another-bucket", "b-third"):
        await s3.create_bucket(Bucket=name)
    page = await s3.list_buckets(MaxBuckets=2)
    assert [one["Name"] for one in page["Buckets"]] == ["another-bucket", "b-third"]
    rest = await s3.list_buckets(ContinuationToken=page["ContinuationToken"])
    assert [one["Name"] for one in rest["Buckets"]] == [BUCKET]
    assert [one["Name"] for one in (await s3.list_buckets(Prefix="b-"))["Buckets"]] == ["b-third"]
    assert (await s3.get_bucket_location(Bucket=BUCKET))["LocationConstraint"] is None
    elsewhere = {"LocationConstraint": "eu-west-1"}
    refused = await s3.refusal("create_bucket", Bucket="far-away", CreateBucketConfiguration=elsewhere)
    assert refused == ("InvalidLocationConstraint", 400)


async def test_versions(s3):
    await put(s3, body=b"before")
    await s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    assert (await s3.get_bucket_versioning(Bucket=BUCKET))["Status"] == "Enabled"
    first = (await put(s3, body=b"1"))["VersionId"]
    second = (await put(s3, body=b"2"))["VersionId"]
    for version, body in (("null", b"before"), (first, b"1"), (second, b"2")):
        assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="key", VersionId=version)) == body
    marker = await s3.delete_object(Bucket=BUCKET, Key="key")
    assert marker["DeleteMarker"] is True
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="key") == ("NoSuchKey", 404)
    gone = await s3.refusal("get_object", Bucket=BUCKET, Key="key", VersionId=marker["VersionId"])
    assert gone == ("MethodNotAllowed", 405)
    listed = await s3.list_object_versions(Bucket=BUCKET)
    assert [one["VersionId"] for one in listed["Versions"]] == [second, first, "null"]
    assert [(one["VersionId"], one["IsLatest"]) for one in listed["DeleteMarkers"]] == [(marker["VersionId"], True)]
    await s3.delete_object(Bucket=BUCKET, Key="key", VersionId=marker["VersionId"])
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="key")) == b"2"
    await s3.delete_object(Bucket=BUCKET, Key="key", VersionId=second)
    assert (await s3.head_object(Bucket=BUCKET, Key="key"))["VersionId"] == first
    unknown = await s3.refusal("get_object", Bucket=BUCKET, Key="key", VersionId="0" * 32)
    assert unknown[0] in {"NoSuchVersion", "InvalidArgument"}
    refused = await s3.refusal("put_bucket_versioning", Bucket=BUCKET, VersioningConfiguration={"Status": "off"})
    assert refused == ("MalformedXML", 400)


async def test_tags(s3):
    await put(s3, Tagging="a=b")
    tags = [{"Key": "x", "Value": "y"}, {"Key": "é", "Value": ""}]
    await s3.put_object_tagging(Bucket=BUCKET, Key="key", Tagging={"TagSet": tags})
    assert (await s3.get_object_tagging(Bucket=BUCKET, Key="key"))["TagSet"] == tags
    await s3.delete_object_tagging(Bucket=BUCKET, Key="key")
    assert (await s3.get_object_tagging(Bucket=BUCKET, Key="key"))["TagSet"] == []
    reserved = {"TagSet": [{"Key": "aws:x", "Value": ""}]}
    refused = await s3.refusal("put_object_tagging", Bucket=BUCKET, Key="key", Tagging=reserved)
    assert refused == ("InvalidTag", 400)
    assert await s3.refusal("get_bucket_tagging", Bucket=BUCKET) == ("NoSuchTagSet", 404)
    await s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": tags})
    assert (await s3.get_bucket_tagging(Bucket=BUCKET))["TagSet"] == tags


async def test_object_lock(cloud, s3):
    await s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    kept = await put(s3, bucket="locked", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until)
    this = {"Bucket": "locked", "Key": "key", "VersionId": kept["VersionId"]}
    assert await s3.refusal("delete_object", **this) == ("AccessDenied", 403)
    assert await s3.refusal("delete_object", **this, BypassGovernanceRetention=True) == ("AccessDenied", 403)
    head = await s3.head_object(**this)
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("COMPLIANCE", until)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    await s3.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=configuration)
    assert (await s3.get_object_lock_configuration(Bucket="locked"))["ObjectLockConfiguration"] == configuration
    second = {"Bucket": "locked", "Key": "second"}
    second["VersionId"] = (await put(s3, "second", bucket="locked"))["VersionId"]
    assert (await s3.get_object_retention(**second))["Retention"]["Mode"] == "GOVERNANCE"
    assert await s3.refusal("delete_object", **second) == ("AccessDenied", 403)
    await s3.put_object_legal_hold(**second, LegalHold={"Status": "ON"})
    assert await s3.refusal("delete_object", **second, BypassGovernanceRetention=True) == ("AccessDenied", 403)
    await s3.put_object_legal_hold(**second, LegalHold={"Status": "OFF"})
    await s3.delete_object(**second, BypassGovernanceRetention=True)
    lock = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    await put(s3)
    refused = await s3.refusal("put_object_retention", Bucket=BUCKET, Key="key", Retention=lock)
    assert refused == ("InvalidRequest", 400)
    suspended = {"Status": "Suspended"}
    refused = await s3.refusal("put_bucket_versioning", Bucket="locked", VersioningConfiguration=suspended)
    assert refused == ("InvalidBucketState", 409)


async def test_lifecycle(cloud, s3):
    await put(s3, "logs/1")
    await put(s3, "kept/1")
    upload = (await s3.create_multipart_upload(Bucket=BUCKET, Key="logs/2"))["UploadId"]
    rules = [
        {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}},
        {"ID": "off", "Status": "Disabled", "Filter": {"Prefix": "kept/"}, "Expiration": {"Days": 1}},
        {
            "ID": "parts",
            "Status": "Enabled",
            "Filter": {},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        },
    ]
    await s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": rules})
    told = (await s3.get_bucket_lifecycle_configuration(Bucket=BUCKET))["Rules"]
    assert [one["ID"] for one in told] == ["old", "off", "parts"]
    await lifecycle.apply(cloud.objects(), datetime.now(UTC) + timedelta(days=2))
    assert (await s3.list_objects_v2(Bucket=BUCKET))["KeyCount"] == 2
    await lifecycle.apply(cloud.objects(), datetime.now(UTC) + timedelta(days=5))
    assert [one["Key"] for one in (await s3.list_objects_v2(Bucket=BUCKET))["Contents"]] == ["kept/1"]
    refused = await s3.refusal("list_parts", Bucket=BUCKET, Key="logs/2", UploadId=upload)
    assert refused == ("NoSuchUpload", 404)
    moving = [{"ID": "m", "Status": "Enabled", "Filter": {}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}]
    refused = await s3.refusal(
        "put_bucket_lifecycle_configuration", Bucket=BUCKET, LifecycleConfiguration={"Rules": moving}
    )
    assert refused == ("NotImplemented", 501)


def plaintext_on_disk(directory, secret):
    return [path for path in (directory / "objects").rglob("*") if path.is_file() and secret in path.read_bytes()]


async def test_objects_are_encrypted_on_disk(cloud, s3, directory):
    secret = b"a secret that nobody may read on the disk" * 10
    await put(s3, "by-default", secret)
    kms = Awaitable(cloud.client("kms"))
    key = (await kms.create_key())["KeyMetadata"]
    stored = await put(s3, "kms", secret, ServerSideEncryption="aws:kms", SSEKMSKeyId=key["KeyId"])
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", key["Arn"])
    customer = base64.b64encode(bytes(range(32))).decode()
    md5 = base64.b64encode(hashlib.md5(bytes(range(32))).digest()).decode()
    own = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": customer, "SSECustomerKeyMD5": md5}
    await put(s3, "customer", secret, **own)
    for name, params in (("by-default", {}), ("kms", {}), ("customer", own)):
        assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key=name, **params)) == secret
    assert not plaintext_on_disk(directory, secret[:30])
    assert (await s3.refusal("get_object", Bucket=BUCKET, Key="customer"))[1] == 400
    other = base64.b64encode(bytes(32)).decode()
    wrong = {
        **own,
        "SSECustomerKey": other,
        "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(bytes(32)).digest()).decode(),
    }
    assert (await s3.refusal("get_object", Bucket=BUCKET, Key="customer", **wrong))[1] == 403
    await kms.disable_key(KeyId=key["KeyId"])
    assert (await s3.refusal("get_object", Bucket=BUCKET, Key="kms"))[0] == "KMS.DisabledException"
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="by-default")) == secret


async def test_encryption_by_the_buckets_default(cloud, s3):
    rules = (await s3.get_bucket_encryption(Bucket=BUCKET))["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    await s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    stored = await put(s3)
    assert (stored["ServerSideEncryption"], stored["BucketKeyEnabled"]) == ("aws:kms", True)
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="key")) == b"body"
    await s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/key", ServerSideEncryption="AES256")
    answer = await s3.get_object(Bucket=BUCKET, Key="copy")
    assert (await bytes_of(answer), answer["ServerSideEncryption"]) == (b"body", "AES256")


async def test_what_has_no_effect_is_refused(s3):
    logging = {"LoggingEnabled": {"TargetBucket": BUCKET, "TargetPrefix": ""}}
    refused = await s3.refusal("put_bucket_logging", Bucket=BUCKET, BucketLoggingStatus=logging)
    assert refused == ("NotImplemented", 501)
    await s3.put_bucket_logging(Bucket=BUCKET, BucketLoggingStatus={})
    paid = {"Payer": "Requester"}
    refused = await s3.refusal("put_bucket_request_payment", Bucket=BUCKET, RequestPaymentConfiguration=paid)
    assert refused == ("NotImplemented", 501)
    fast = {"Status": "Enabled"}
    refused = await s3.refusal("put_bucket_accelerate_configuration", Bucket=BUCKET, AccelerateConfiguration=fast)
    assert refused == ("NotImplemented", 501)
    assert (await s3.refusal("get_bucket_website", Bucket=BUCKET))[0] == "NoSuchWebsiteConfiguration"
