"""Results of every operation, as we write them, are parsed by botocore to the same values."""

from random import Random

import pytest
from protocol_oracle import CASES, parse, service_model
from protocol_samples import Samples

from pileus.aws.protocol import load_service

EXAMPLES = 8
# Its answer is a bare element that botocore's client reads with a function of its own: see test_protocol_s3.
BARE = "GetBucketLocation"


@pytest.mark.parametrize(("service", "protocol", "name"), [case for case in CASES if case[2] != BARE])
def test_result_is_parsed_back(service, protocol, name):
    operation = service_model(service).operation_model(name)
    ours = load_service(service, protocol).operation(name)
    random = Random(f"{service} {protocol} {name}")
    shape = operation.output_shape
    for example in range(EXAMPLES):
        result = Samples(random, protocol).structure(shape, everything=example == 0) if shape else {}
        if shape and shape.event_stream_name:
            assert not result
            continue
        response = ours.serialise(result, "5c1a3a5e-0000-4000-8000-000000000000")
        parsed = parse(protocol, shape, response)
        metadata = parsed.pop("ResponseMetadata")
        assert parsed == _arriving(shape, result)
        if shape or protocol != "smithy-rpc-v2-cbor":  # where botocore does not look for it
            assert metadata["RequestId"] == "5c1a3a5e-0000-4000-8000-000000000000"
        assert response.status < 300


def _arriving(shape, result):
    """botocore reads what is absent as empty in two places: a binary payload, and header maps."""
    if shape is None:
        return result
    absent = {name: {} for name, member in shape.members.items() if member.serialization.get("location") == "headers"}
    payload = shape.serialization.get("payload")
    if payload:
        absent[payload] = {"blob": b"", "string": ""}.get(shape.members[payload].type_name, {})
        if "ContentType" in shape.members:
            absent["ContentType"] = "binary/octet-stream"
    return absent | result
