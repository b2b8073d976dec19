"""Error answers of every protocol, read by botocore."""

import pytest
from protocol_oracle import parse, service_model

from pileus.aws.protocol import load_service

ID = "5c1a3a5e-0000-4000-8000-000000000000"

PLAIN = [("ec2", "ec2"), ("iam", "query"), ("ssm", "json"), ("s3", "rest-xml"), ("route53", "rest-xml")]
PLAIN += [
    ("lambda", "rest-json"),
    ("cloudwatch", "query"),
    ("cloudwatch", "json"),
    ("cloudwatch", "smithy-rpc-v2-cbor"),
]


@pytest.mark.parametrize(("service", "protocol"), PLAIN)
@pytest.mark.parametrize("status", [400, 404, 503])
def test_code_message_and_request_id_arrive(service, protocol, status):
    response = load_service(service, protocol).serialise_error("Some.Code", 'No <b> & "ä" here', status, ID)
    parsed = parse(protocol, None, response)
    assert parsed["Error"]["Code"] == "Some.Code"
    assert parsed["Error"]["Message"] == 'No <b> & "ä" here'
    assert parsed["ResponseMetadata"]["RequestId"] == ID
    assert parsed["ResponseMetadata"]["HTTPStatusCode"] == status


MODELLED = [
    # Service, protocol, code as raised, shape, code as seen, members.
    ("sts", "query", "ExpiredTokenException", "ExpiredTokenException", "ExpiredTokenException", {}),
    ("iam", "query", "NoSuchEntity", "NoSuchEntityException", "NoSuchEntity", {}),
    ("iam", "query", "NoSuchEntityException", "NoSuchEntityException", "NoSuchEntity", {}),
    ("kms", "json", "NotFoundException", "NotFoundException", "NotFoundException", {}),
    ("cloudwatch", "query", "ResourceNotFound", "ResourceNotFound", "ResourceNotFound", {}),
    ("cloudwatch", "json", "ResourceNotFound", "ResourceNotFound", "ResourceNotFound", {}),
    (
        "cloudwatch",
        "smithy-rpc-v2-cbor",
        "ResourceNotFoundException",
        "ResourceNotFoundException",
        "ResourceNotFoundException",
        {"ResourceType": "alarm", "ResourceId": "a<b"},
    ),
    (
        "cloudwatch",
        "query",
        "ResourceNotFoundException",
        "ResourceNotFoundException",
        "ResourceNotFoundException",
        {"ResourceType": "alarm", "ResourceId": "a<b"},
    ),
    (
        "lambda",
        "rest-json",
        "TooManyRequestsException",
        "TooManyRequestsException",
        "TooManyRequestsException",
        {"retryAfterSeconds": "3", "Reason": "CallerRateLimitExceeded"},
    ),
    (
        "ssm",
        "json",
        "OpsItemLimitExceededException",
        "OpsItemLimitExceededException",
        "OpsItemLimitExceededException",
        {"ResourceTypes": ["a"], "Limit": 3, "LimitType": "b"},
    ),
    ("s3", "rest-xml", "InvalidObjectState", "InvalidObjectState", "InvalidObjectState", {"StorageClass": "GLACIER"}),
]


@pytest.mark.parametrize(("service", "protocol", "code", "shape", "seen", "members"), MODELLED)
def test_members_of_a_modelled_exception_arrive(service, protocol, code, shape, seen, members):
    response = load_service(service, protocol).serialise_error(code, "why", 400, ID, members)
    assert parse(protocol, None, response)["Error"]["Code"] == seen
    modelled = parse(protocol, service_model(service).shape_for(shape), response)
    # AWS writes Message whatever the model says, so that only this spelling comes back from the query protocol.
    spellings = ("Message",) if protocol == "query" else ("Message", "message")
    message = {name: "why" for name in service_model(service).shape_for(shape).members if name in spellings}
    assert {name: value for name, value in modelled.items() if name != "ResponseMetadata"} == message | members


def test_a_service_that_came_from_query_says_both_codes():
    service = load_service("cloudwatch", "json")
    response = service.serialise_error("InvalidParameterValue", "why", 400, ID)
    assert ("x-amzn-query-error", "InvalidParameterValue;Sender") in response.headers
    parsed = parse("json", None, response)["Error"]
    assert parsed["Code"] == "InvalidParameterValue"
    assert parsed["QueryErrorCode"] == "InvalidParameterValueException"
    assert parsed["Type"] == "Sender"


def test_a_member_that_the_exception_does_not_have_is_a_programming_error():
    with pytest.raises(KeyError):
        load_service("kms").serialise_error("NotFoundException", "why", 400, ID, {"Nonsense": 1})


def test_s3_errors_have_no_wrapper():
    response = load_service("s3").serialise_error("NoSuchBucket", "why", 404, ID, {"BucketName": "b"})
    assert b"<Error><Code>NoSuchBucket</Code><Message>why</Message><BucketName>b</BucketName>" in response.body
