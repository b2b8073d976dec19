"""Who may do what: other accounts, nobody at all, presigned requests, forms in browsers, pages of other origins."""

import asyncio
import base64
import datetime
import hmac
import json
import re

import boto3
import pytest
from awaitable_client import Awaitable
from botocore.config import Config
from s3_requests import ask, bytes_of, presigned, signed

BUCKET = "the-bucket"
STRANGER = "000000000002"


@pytest.fixture
async def s3(cloud):
    client = Awaitable(cloud.client("s3"))
    await client.create_bucket(Bucket=BUCKET)
    await client.put_object(Bucket=BUCKET, Key="key", Body=b"body")
    return client


@pytest.fixture
def stranger(cloud):
    return Awaitable(cloud.client("s3", credentials=cloud.add_account(STRANGER)))


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="/*", principal="*", **further):
    return {
        "Effect": "Allow",
        "Principal": principal,
        "Action": action,
        "Resource": f"arn:aws:s3:::{BUCKET}{resource}",
        **further,
    }


async def open_to_the_public(s3):
    await s3.delete_public_access_block(Bucket=BUCKET)


async def test_others_see_nothing_by_default(cloud, s3, stranger):
    assert (await ask(cloud, "GET", f"/{BUCKET}/key"))[0] == 403
    assert (await ask(cloud, "GET", f"/{BUCKET}"))[0] == 403
    assert (await ask(cloud, "PUT", f"/{BUCKET}/key", body=b"x"))[0] == 403
    assert (await ask(cloud, "DELETE", f"/{BUCKET}/key"))[0] == 403
    for operation, params in (
        ("get_object", {"Key": "key"}),
        ("get_object", {"Key": "none"}),
        ("put_object", {"Key": "key", "Body": b""}),
        ("delete_object", {"Key": "key"}),
        ("list_objects_v2", {}),
        ("get_bucket_policy", {}),
        ("get_bucket_acl", {}),
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Enabled"}}),
        ("delete_bucket", {}),
    ):
        assert await stranger.refusal(operation, Bucket=BUCKET, **params) == ("AccessDenied", 403), operation
    assert "Buckets" not in await stranger.list_buckets() or not (await stranger.list_buckets())["Buckets"]
    assert await stranger.refusal("create_bucket", Bucket=BUCKET) == ("BucketAlreadyExists", 409)
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="key")) == b"body"


async def test_a_policy_lets_an_account_in(s3, stranger):
    principal = {"AWS": f"arn:aws:iam::{STRANGER}:root"}
    await s3.put_bucket_policy(Bucket=BUCKET, Policy=policy(allow("s3:GetObject", "/k*", principal)))
    assert await bytes_of(await stranger.get_object(Bucket=BUCKET, Key="key")) == b"body"
    assert await stranger.refusal("get_object", Bucket=BUCKET, Key="other") == ("AccessDenied", 403)
    assert (await s3.get_bucket_policy_status(Bucket=BUCKET))["PolicyStatus"] == {"IsPublic": False}
    deny = {**allow("s3:*", "/key", principal), "Effect": "Deny"}
    await s3.put_bucket_policy(Bucket=BUCKET, Policy=policy(allow("s3:GetObject", "/*", principal), deny))
    assert await stranger.refusal("get_object", Bucket=BUCKET, Key="key") == ("AccessDenied", 403)
    await s3.delete_bucket_policy(Bucket=BUCKET)
    assert await s3.refusal("get_bucket_policy", Bucket=BUCKET) == ("NoSuchBucketPolicy", 404)


async def test_a_policy_for_everybody_needs_the_block_lifted(cloud, s3):
    everybody = policy(allow("s3:GetObject"), allow("s3:ListBucket", ""))
    assert await s3.refusal("put_bucket_policy", Bucket=BUCKET, Policy=everybody) == ("AccessDenied", 403)
    await open_to_the_public(s3)
    await s3.put_bucket_policy(Bucket=BUCKET, Policy=everybody)
    status, _, body = await ask(cloud, "GET", f"/{BUCKET}/key")
    assert (status, body) == (200, b"body")
    assert (await ask(cloud, "GET", f"/{BUCKET}?list-type=2"))[0] == 200
    assert (await ask(cloud, "PUT", f"/{BUCKET}/key", body=b"x"))[0] == 403
    assert (await ask(cloud, "GET", f"/{BUCKET}?policy"))[0] == 403
    assert (await ask(cloud, "GET", "/key", {"Host": f"{BUCKET}.s3.localhost"}))[2] == b"body"
    block = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy"), False)
    await s3.put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration={**block, "RestrictPublicBuckets": True}
    )
    assert (await ask(cloud, "GET", f"/{BUCKET}/key"))[0] == 403


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("{", "MalformedPolicy"),
        (policy(), "MalformedPolicy"),
        (policy({**allow("s3:GetObject"), "Surprise": 1}), "MalformedPolicy"),
        (policy(allow("ec2:RunInstances")), "MalformedPolicy"),
        (policy({**allow("s3:GetObject"), "Resource": "arn:aws:s3:::other/*"}), "MalformedPolicy"),
        (policy(allow("s3:GetObject", principal={"AWS": "nobody"})), "MalformedPolicy"),
        (policy(allow("s3:GetObject", principal={"Service": "logging.s3.amazonaws.com"})), "NotImplemented"),
        (policy(allow("s3:GetObject", Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})), "NotImplemented"),
        (policy(allow("s3:GetObject", Condition={"Sounds": {"aws:SourceIp": "x"}})), "MalformedPolicy"),
        (policy(allow("s3:GetObject", "/${aws:username}/*")), "NotImplemented"),
    ],
)
async def test_policies_that_can_not_be_evaluated_are_refused(s3, document, code):
    assert (await s3.refusal("put_bucket_policy", Bucket=BUCKET, Policy=document))[0] == code


async def test_acls_where_they_are_on(cloud, s3, stranger):
    refused = await s3.refusal("put_object_acl", Bucket=BUCKET, Key="key", ACL="public-read")
    assert refused == ("AccessControlListNotSupported", 400)
    owned = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    await s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls=owned)
    assert await s3.refusal("put_object_acl", Bucket=BUCKET, Key="key", ACL="public-read") == ("AccessDenied", 403)
    await open_to_the_public(s3)
    await s3.put_object_acl(Bucket=BUCKET, Key="key", ACL="public-read")
    assert (await ask(cloud, "GET", f"/{BUCKET}/key"))[2] == b"body"
    assert (await ask(cloud, "GET", f"/{BUCKET}"))[0] == 403
    id_ = (await stranger.list_buckets())["Owner"]["ID"]
    await s3.put_bucket_acl(Bucket=BUCKET, GrantWrite=f"id={id_}", GrantRead=f"id={id_}")
    await stranger.put_object(Bucket=BUCKET, Key="theirs", Body=b"x")
    assert (await s3.get_object_acl(Bucket=BUCKET, Key="theirs"))["Owner"]["ID"] == id_
    assert {one["Key"] for one in (await stranger.list_objects_v2(Bucket=BUCKET))["Contents"]} == {"key", "theirs"}
    told = (await s3.get_bucket_acl(Bucket=BUCKET))["Grants"]
    assert sorted(grant["Permission"] for grant in told) == ["READ", "WRITE"]


async def test_presigned_urls(cloud, s3):
    assert (await ask(cloud, "GET", presigned(cloud, "GET", f"/{BUCKET}/key")))[2] == b"body"
    status, _, _ = await ask(cloud, "PUT", presigned(cloud, "PUT", f"/{BUCKET}/new"), body=b"uploaded")
    assert status == 200
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="new")) == b"uploaded"
    url = presigned(cloud, "GET", f"/{BUCKET}/key")
    assert (await ask(cloud, "GET", url.replace("/key", "/new")))[0] == 403
    assert (await ask(cloud, "DELETE", url))[0] == 403
    # boto3 and the AWS CLI presign with S3's old signature where they are not told otherwise.
    old = await asyncio.to_thread(s3.blocking.generate_presigned_url, "get_object", {"Bucket": BUCKET, "Key": "key"})
    assert old.startswith(cloud.endpoint)
    assert "AWSAccessKeyId=" in old
    path = old.removeprefix(cloud.endpoint)
    status, _, body = await ask(cloud, "GET", path)
    assert (status, body) == (200, b"body")
    assert (await ask(cloud, "GET", path.replace("/key", "/new")))[0] == 403
    assert (await ask(cloud, "GET", path + "&acl"))[0] == 403
    assert (await ask(cloud, "DELETE", path))[0] == 403
    status, _, body = await ask(cloud, "GET", re.sub(r"Expires=\d+", "Expires=1000000000", path))
    assert (status, b"Request has expired" in body) == (403, True)
    params = {"Bucket": BUCKET, "Key": "type", "ContentType": "text/plain"}
    put = await asyncio.to_thread(s3.blocking.generate_presigned_url, "put_object", params)
    typed = {"Content-Type": "text/plain"}
    assert (await ask(cloud, "PUT", put.removeprefix(cloud.endpoint), typed, b"x"))[0] == 200
    assert (await ask(cloud, "PUT", put.removeprefix(cloud.endpoint).replace("plain", "html"), typed, b"x"))[0] == 403


def form(fields, content=b"from a form", name="photo.txt"):
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()
    ]
    file = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'
    return "".join(parts).encode() + file.encode() + content + b"\r\n--XX--\r\n"


async def post(cloud, fields, content=b"from a form", path=f"/{BUCKET}"):
    return await ask(cloud, "POST", path, {"Content-Type": "multipart/form-data; boundary=XX"}, form(fields, content))


async def test_a_browsers_form(cloud, s3):
    modern = boto3.client(
        "s3",
        region_name=cloud.config.default_region,
        endpoint_url=cloud.endpoint,
        aws_access_key_id=cloud.credentials.access_key,
        aws_secret_access_key=cloud.credentials.secret_key,
        config=Config(signature_version="s3v4"),
    )

    def sign(conditions, fields):
        return asyncio.to_thread(modern.generate_presigned_post, BUCKET, "dir/${filename}", fields, conditions, 60)

    made = await sign(
        [["content-length-range", 5, 20], {"success_action_status": "201"}, ["starts-with", "$x-amz-meta-a", ""]],
        {"success_action_status": "201"},
    )
    fields = {**made["fields"], "x-amz-meta-a": "b"}
    status, headers, body = await post(cloud, fields)
    assert (status, b"<Key>dir/photo.txt</Key>" in body) == (201, True), body
    answer = await s3.get_object(Bucket=BUCKET, Key="dir/photo.txt")
    told = (await bytes_of(answer), answer["Metadata"], answer["ContentType"], answer["ETag"])
    assert told == (b"from a form", {"a": "b"}, "text/plain", headers["etag"])
    refusals = [
        ({}, b"x" * 21, 400, b"EntityTooLarge"),
        ({}, b"x", 400, b"EntityTooSmall"),
        ({"x-amz-meta-b": "c"}, b"12345", 403, b"Extra input fields"),
        ({"key": "elsewhere"}, b"12345", 403, b"Policy Condition failed"),
        ({"x-amz-signature": "0" * 64}, b"12345", 403, b"SignatureDoesNotMatch"),
        (
            {"x-amz-credential": made["fields"]["x-amz-credential"].replace("AKIA", "AKIB")},
            b"12345",
            403,
            b"InvalidAccessKeyId",
        ),
    ]
    for changed, content, status, part in refusals:
        got, _, body = await post(cloud, {**fields, **changed}, content)
        assert (got, part in body) == (status, True), (changed, body)
    assert [one["Key"] for one in (await s3.list_objects_v2(Bucket=BUCKET))["Contents"]] == ["dir/photo.txt", "key"]
    unsigned = await post(cloud, {"key": "x"})
    assert unsigned[0] == 403


async def test_a_form_is_read_wherever_its_pieces_end(cloud, s3):
    made = await asyncio.to_thread(s3.blocking.generate_presigned_post, BUCKET, "key")
    content = b"\r\n--X\r\n--XY\r\n" * 5000
    status, headers, _ = await post(cloud, made["fields"], content, path="/")
    assert status in {403, 404, 405}
    status, headers, _ = await post(cloud, made["fields"], content)
    assert (status, headers["location"].endswith(f"/{BUCKET}/key")) == (204, True)
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="key")) == content


async def test_a_form_whose_policy_is_over(cloud, s3):
    past = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {"expiration": past, "conditions": [{"bucket": BUCKET}, {"key": "key"}]}
    text = base64.b64encode(json.dumps(document).encode())
    signature = base64.b64encode(hmac.digest(cloud.credentials.secret_key.encode(), text, "sha1")).decode()
    keys = {"AWSAccessKeyId": cloud.credentials.access_key, "policy": text.decode(), "signature": signature}
    status, _, body = await post(cloud, {"key": "key", **keys})
    assert (status, b"Policy expired" in body) == (403, True)


async def test_pages_of_other_origins(cloud, s3):
    asked = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "x-amz-meta-a",
    }
    assert (await ask(cloud, "OPTIONS", f"/{BUCKET}/key", asked))[0] == 403
    rule = {
        "AllowedOrigins": ["https://*.example"],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    }
    await s3.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})
    assert (await s3.get_bucket_cors(Bucket=BUCKET))["CORSRules"] == [rule]
    status, headers, _ = await ask(cloud, "OPTIONS", f"/{BUCKET}/key", asked)
    told = {
        name: headers.get(f"access-control-{name}")
        for name in ("allow-origin", "max-age", "allow-headers", "expose-headers")
    }
    assert (status, told) == (
        200,
        {
            "allow-origin": "https://a.example",
            "max-age": "60",
            "allow-headers": "x-amz-meta-a",
            "expose-headers": "ETag",
        },
    )
    assert (await ask(cloud, "OPTIONS", f"/{BUCKET}/key", {**asked, "Origin": "https://other.test"}))[0] == 403
    assert (await ask(cloud, "OPTIONS", f"/{BUCKET}/key", {**asked, "Access-Control-Request-Headers": "other"}))[
        0
    ] == 403
    path = presigned(cloud, "GET", f"/{BUCKET}/key")
    _, headers, _ = await ask(cloud, "GET", path, {"Origin": "https://a.example"})
    assert headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in (await ask(cloud, "GET", path, {"Origin": "https://other.test"}))[1]
    await s3.delete_bucket_cors(Bucket=BUCKET)
    assert await s3.refusal("get_bucket_cors", Bucket=BUCKET) == ("NoSuchCORSConfiguration", 404)


@pytest.mark.parametrize("host", ["{}.s3.cloud.test", "{}.s3.us-east-1.cloud.test", "{}.localhost:4566"])
async def test_buckets_in_the_host_name(cloud, s3, host):
    name = host.format(BUCKET)
    status, _, body = await ask(cloud, *signed(cloud, "GET", "/key", host=name))
    assert (status, body) == (200, b"body")


async def test_another_region(cloud, s3):
    name = f"{BUCKET}.s3.eu-west-1.cloud.test"
    status, headers, body = await ask(cloud, *signed(cloud, "GET", "/key", host=name))
    assert (status, b"PermanentRedirect" in body, headers["x-amz-bucket-region"]) == (301, True, "us-east-1")
    status, _, body = await ask(cloud, *signed(cloud, "GET", f"/{BUCKET}/key", region="eu-west-1"))
    assert (status, b"AuthorizationHeaderMalformed" in body) == (400, True)


async def test_the_expected_owner(s3):
    assert (await s3.refusal("head_bucket", Bucket=BUCKET, ExpectedBucketOwner=STRANGER))[1] == 403
    await s3.head_bucket(Bucket=BUCKET, ExpectedBucketOwner="000000000001")
