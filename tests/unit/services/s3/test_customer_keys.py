"""Over which connections customers' keys (SSE-C) may come."""

import base64
import hashlib
from datetime import UTC, datetime

import pytest

from pileus.base.errors import ServiceError
from pileus.operations.call import Call, Identity
from pileus.services.s3.encryption import check_transport

OWN = {
    "SSECustomerAlgorithm": "AES256",
    "SSECustomerKey": base64.b64encode(bytes(32)).decode(),
    "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(bytes(32)).digest()).decode(),
}
COPIED = {f"CopySource{name}": value for name, value in OWN.items()}


def call(address, *, secure=False):
    return Call(
        service="s3",
        operation="GetObject",
        region="us-east-1",
        params={},
        identity=Identity(account="000000000001", arn="arn:aws:iam::000000000001:root", user_id="1", access_key="A"),
        request_id="1",
        now=datetime(2026, 11, 23, tzinfo=UTC),
        source_address=address,
        secure=secure,
    )


@pytest.mark.parametrize("params", [OWN, COPIED], ids=["own", "source"])
@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "10.0.0.1", ""])
def test_not_over_a_network_that_others_can_read(address, params):
    with pytest.raises(ServiceError, match="secure connection") as caught:
        check_transport(call(address), params)
    assert (caught.value.code, caught.value.status) == ("InvalidRequest", 400)
    check_transport(call(address, secure=True), params)
    check_transport(call(address), {"Key": "key"})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_over_loopback(address):
    check_transport(call(address), OWN)


@pytest.mark.parametrize("operation", ["HeadObject", "GetObject"])
async def test_operations_look_at_it(cloud, operation):
    await cloud.call("s3", "CreateBucket", Bucket="the-bucket")
    error = await cloud.refusal("s3", operation, Bucket="the-bucket", Key="key", **OWN)
    assert error.code == "InvalidRequest"
    assert (await cloud.refusal("s3", operation, Bucket="the-bucket", Key="key")).code == "NoSuchKey"
