"""Whatever comes over the wire, a parser gives parameters or a client error: no other exception, no great cost."""

import tracemalloc
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protocol_oracle import request, service_model
from protocol_samples import Samples

from pileus.aws import routing
from pileus.aws.http import Headers, HttpRequest
from pileus.aws.protocol import load_service
from pileus.base.errors import ServiceError

OPERATIONS = [
    ("ec2", "ec2", "RunInstances"),
    ("iam", "query", "CreateRole"),
    ("cloudwatch", "query", "PutMetricAlarm"),
    ("cloudwatch", "json", "PutMetricAlarm"),
    ("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricAlarm"),
    ("ssm", "json", "PutParameter"),
    ("ce", "json", "GetCostAndUsage"),
    ("lambda", "rest-json", "CreateFunction"),
    ("s3", "rest-xml", "PutBucketLifecycleConfiguration"),
]


def accepts(service, protocol, operation, body, query=""):
    """Whether the parser took it; anything but a client error fails the test."""
    path_params = {"Bucket": "b"} if service == "s3" else {}
    try:
        load_service(service, protocol).operation(operation).parse(
            HttpRequest("POST", "/", query, Headers(), body), path_params
        )
    except ServiceError as error:
        assert 400 <= error.status < 500
        assert error.message.encode()
        return False
    return True


@pytest.mark.parametrize(("service", "protocol", "operation"), OPERATIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=200), query=st.text(max_size=50))
def test_bytes(service, protocol, operation, body, query):
    accepts(service, protocol, operation, body, query)


@pytest.mark.parametrize(("service", "protocol", "operation"), OPERATIONS)
def test_damaged_requests(service, protocol, operation):
    random = Random(f"{service} {protocol} {operation}")
    model = service_model(service).operation_model(operation)
    for _ in range(60):
        sent = request(protocol, model, Samples(random, protocol).structure(model.input_shape, everything=True))
        body = bytearray(sent.body)
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(body) + 1)
            body[place : place + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
        accepts(service, protocol, operation, bytes(body))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("NaN"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Name", "Value", "Key"]), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(params=st.dictionaries(st.sampled_from(["Name", "Value", "Type", "Tags", "Overwrite", "Tier"]), VALUES))
def test_json_of_other_types(params):
    import json

    accepts("ssm", "json", "PutParameter", json.dumps(params).encode())


KEYS = st.lists(
    st.sampled_from(["Filter", "1", "0", "Name", "Value", "VpcId", "999999999", "-1", "", "١", "²", "DryRun"]),
    min_size=1,
    max_size=5,
).map(".".join)


@settings(max_examples=300, deadline=None)
@given(fields=st.lists(st.tuples(KEYS, st.sampled_from(["", "1", "x", "%", "%f", "%ff", "true", "+"])), max_size=5))
def test_form_keys(fields):
    accepts("ec2", "ec2", "DescribeVpcs", "&".join(f"{key}={value}" for key, value in fields).encode())


HUGE = "9" * 5000
CASES = [
    ("ec2", "ec2", "DescribeVpcs", b"VpcId.999999999=x"),
    ("ec2", "ec2", "DescribeVpcs", f"VpcId.{HUGE}=x".encode()),
    ("ec2", "ec2", "DescribeVpcs", f"MaxResults={HUGE}".encode()),
    ("ec2", "ec2", "DescribeVpcs", b"VpcId." + b"1." * 100_000 + b"=x"),
    ("ec2", "ec2", "DescribeVpcs", b"&".join(b"VpcId.%d=x" % n for n in range(20_000))),
    ("ec2", "ec2", "DescribeSpotPriceHistory", b"StartTime=9999999999999999999"),
    ("ec2", "ec2", "DescribeSpotPriceHistory", b"StartTime=1e999"),
    ("ec2", "ec2", "DescribeSpotPriceHistory", b"StartTime=0001-01-01T00:00:00%2B14:00"),
    ("iam", "query", "CreateRole", b"Tags.member.1.Key.x=y&RoleName=a&AssumeRolePolicyDocument=b"),
    ("iam", "query", "CreateRole", b"Tags.member.999999999.Key=y&RoleName=a&AssumeRolePolicyDocument=b"),
    ("ssm", "json", "PutParameter", b"[" * 100_000),
    ("ssm", "json", "PutParameter", b'{"Name":' * 100_000),
    ("ssm", "json", "PutParameter", b'{"Name": "\\ud800", "Value": "x"}'),
    ("ssm", "json", "PutParameter", b'{"Name": "\xff"}'),
    ("ssm", "json", "PutParameter", f'{{"Name": {HUGE}}}'.encode()),
    ("ce", "json", "GetCostAndUsage", b'{"Filter":' + b'{"Not":' * 900 + b"{}" + b"}" * 901),
    ("ce", "json", "GetCostAndUsage", b'{"Filter":' + b'{"And":[' * 400 + b"1" + b"]}" * 400 + b"}"),
    ("cloudwatch", "json", "GetMetricData", b'{"StartTime": 1e400, "EndTime": 1, "MetricDataQueries": []}'),
    ("cloudwatch", "json", "GetMetricData", b'{"StartTime": "NaN", "EndTime": 1, "MetricDataQueries": []}'),
    ("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricData", b"\x9b" + b"\xff" * 8),
    ("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricData", b"\x5b" + b"\x7f" * 8),
    ("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricData", b"\x81" * 100_000),
    ("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricData", b"\x9f" * 100_000),
    ("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricData", b"\xc1" * 100_000),
    ("cloudwatch", "smithy-rpc-v2-cbor", "PutMetricData", b"\xa1\x81\x01\x01"),
    ("cloudwatch", "smithy-rpc-v2-cbor", "GetMetricData", b"\xa1\x69StartTime\xc1\xf9\x7c\x00"),
    ("s3", "rest-xml", "PutBucketTagging", b"<a>" * 100_000),
    ("s3", "rest-xml", "PutBucketTagging", b"<Tagging><TagSet>text</TagSet><TagSet/></Tagging>x"),
    (
        "s3",
        "rest-xml",
        "PutBucketTagging",
        b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><Tagging><TagSet><Tag><Key>&d;</Key></Tag></TagSet></Tagging>',
    ),
    (
        "s3",
        "rest-xml",
        "PutBucketTagging",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><Tagging><TagSet/></Tagging>',
    ),
    ("s3", "rest-xml", "PutBucketTagging", b'<?xml version="1.0" encoding="nonsense"?><Tagging/>'),
    ("s3", "rest-xml", "PutBucketTagging", b'<?xml version="1.0" encoding="utf-7"?><Tagging/>'),
]


@pytest.mark.parametrize(("service", "protocol", "operation", "body"), CASES, ids=range(len(CASES)))
def test_hostile_requests_are_refused_cheaply(service, protocol, operation, body):
    load_service(service, protocol).operation(operation)
    tracemalloc.start()
    try:
        assert not accepts(service, protocol, operation, body)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000 + 20 * len(body)
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "x"]),
    path=st.text(alphabet="/ab%{}.", max_size=12),
    query=st.text(alphabet="acl&=%list-type2+Action", max_size=20),
    target=st.none() | st.sampled_from(["", "AmazonSSM.", "AmazonSSM.GetParameter", "x.y.z", "TrentService"]),
    scope=st.none() | st.sampled_from([*routing.SIGNING_NAMES, "other"]),
    body=st.binary(max_size=20),
    cbor=st.booleans(),
)
def test_anything_is_routed_or_refused(method, path, query, target, scope, body, cbor):
    headers = [("x-amz-target", target)] if target is not None else []
    headers += [("smithy-protocol", "rpc-v2-cbor")] if cbor else []
    try:
        found = routing.route(HttpRequest(method, "/" + path, query, Headers(headers), body), scope)
    except ServiceError as error:
        assert 400 <= error.status < 500
    else:
        found.service.operation(found.operation)
