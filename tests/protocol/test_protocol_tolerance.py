"""What clients send beside the plain form, and what is refused, in AWS's words."""

import pytest

from pileus.aws.http import Headers, HttpRequest
from pileus.aws.protocol import load_service
from pileus.base.errors import ServiceError


def form(body="", query="", method="POST"):
    return HttpRequest(method, "/", query, Headers(), body.encode())


def parse(service, operation, body="", query=""):
    return load_service(service).operation(operation).parse(form(body, query), {})


@pytest.mark.parametrize(
    "indices",
    [(1, 2, 3), (0, 1, 2), (3, 1, 2), (1, 10, 100), (7, 8, 9)],
    ids=["from one", "from zero", "out of order", "sparse", "from seven"],
)
def test_lists_are_read_in_the_order_of_their_numbers(indices):
    body = "&".join(f"InstanceId.{index}=i-{index}" for index in indices)
    params = parse("ec2", "DescribeInstances", body)
    assert params == {"InstanceIds": [f"i-{index}" for index in sorted(indices)]}


def test_ten_comes_after_nine():
    body = "&".join(f"Tag.{n}.Key=k{n}&Tag.{n}.Value=v&ResourceId.{n}=r" for n in range(12))
    assert [tag["Key"] for tag in parse("ec2", "CreateTags", body)["Tags"]] == [f"k{n}" for n in range(12)]


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "1", "false", "False", "0"])
def test_booleans_in_any_case(text):
    expected = {"DryRun": text.lower() in ("true", "1")}
    assert parse("ec2", "DescribeVpcs", f"DryRun={text}") == expected


def test_parameters_may_stand_in_the_query_string_beside_an_old_signature():
    query = "Action=DescribeVpcs&Version=2014-10-01&AWSAccessKeyId=A&Signature=x%2F&SignatureMethod=HmacSHA256"
    query += "&SignatureVersion=2&Timestamp=2026-01-01T00%3A00%3A00Z&VpcId.1=vpc-1&Filter.1.Name=tag%3Aa+b"
    assert parse("ec2", "DescribeVpcs", query=query) == {"VpcIds": ["vpc-1"], "Filters": [{"Name": "tag:a b"}]}


def test_a_blank_value_is_an_empty_list_or_an_empty_text():
    assert parse("ec2", "DescribeVpcs", "VpcId=") == {"VpcIds": []}
    assert parse("ec2", "CreateVpc", "CidrBlock=") == {"CidrBlock": ""}
    assert parse("cloudwatch", "DescribeAlarms") == {}
    alarms = load_service("cloudwatch", "query").operation("DescribeAlarms")
    assert alarms.parse(form("AlarmNames="), {}) == {"AlarmNames": []}


@pytest.mark.parametrize(
    ("operation", "body", "code", "message"),
    [
        ("TerminateInstances", "", "MissingParameter", "The request must contain the parameter InstanceId"),
        (
            "AttachVolume",
            "VolumeId=v&InstanceId=i",
            "MissingParameter",
            "The request must contain the parameter Device",
        ),
        ("DescribeVpcs", "Vpc.1=x", "UnknownParameter", "The parameter Vpc is not recognized"),
        ("DescribeVpcs", "Filter.1.Nome=x", "UnknownParameter", "The parameter Filter.1.Nome is not recognized"),
        ("DescribeVpcs", "DryRun.1=x", "UnknownParameter", "The parameter DryRun.1 is not recognized"),
        ("DescribeVpcs", "VpcId.one=x", "UnknownParameter", "The parameter VpcId.one is not recognized"),
        ("DescribeVpcs", "VpcId.999999999=x", "UnknownParameter", "The parameter VpcId.999999999 is not recognized"),
        (
            "DescribeVpcs",
            "MaxResults=ten",
            "InvalidParameterValue",
            "Invalid value 'ten' for MaxResults. Must be an integer.",
        ),
        (
            "DescribeVpcs",
            "DryRun=yes",
            "InvalidParameterValue",
            "Invalid value 'yes' for DryRun. Must be true or false.",
        ),
        ("DescribeVpcs", "VpcId.1=a&VpcId.1=b", "MalformedQueryString", "The parameter VpcId.1 has two values"),
        (
            "DescribeVpcs",
            "VpcId.1=a&VpcId.1.x=b",
            "MalformedQueryString",
            "The parameter VpcId.1.x contradicts another one",
        ),
        ("DescribeVpcs", "VpcId.1=%ff", "MalformedQueryString", "The request is not in UTF-8"),
    ],
)
def test_ec2_refuses(operation, body, code, message):
    with pytest.raises(ServiceError) as caught:
        parse("ec2", operation, body)
    assert (caught.value.code, caught.value.message, caught.value.status) == (code, message, 400)


def test_a_repeated_parameter_with_the_same_value_does_no_harm():
    assert parse("ec2", "DescribeVpcs", "Action=DescribeVpcs&VpcId.1=a", "Action=DescribeVpcs") == {"VpcIds": ["a"]}


BEGINNING = "1 validation error detected: "
FAILED = "failed to satisfy constraint: "


@pytest.mark.parametrize(
    ("service", "operation", "body", "code", "message"),
    [
        ("iam", "CreateUser", "", "ValidationError", f"Value null at 'userName' {FAILED}Member must not be null"),
        (
            "iam",
            "CreateUser",
            "UserName=" + "x" * 65,
            "ValidationError",
            f"Value '{'x' * 65}' at 'userName' {FAILED}Member must have length less than or equal to 64",
        ),
        (
            "iam",
            "CreateUser",
            "UserName=a b",
            "ValidationError",
            f"Value 'a b' at 'userName' {FAILED}Member must satisfy regular expression pattern: [\\w+=,.@-]+",
        ),
        (
            "iam",
            "CreateUser",
            "UserName=a&Tags.member.1.Key=&Tags.member.1.Value=v",
            "ValidationError",
            f"Value '' at 'tags.1.member.key' {FAILED}Member must have length greater than or equal to 1",
        ),
        (
            "iam",
            "ListUsers",
            "MaxItems=0",
            "ValidationError",
            f"Value '0' at 'maxItems' {FAILED}Member must have value greater than or equal to 1",
        ),
        (
            "ssm",
            "PutParameter",
            '{"Name": "a", "Value": "b", "Tier": "Free"}',
            "ValidationException",
            f"Value 'Free' at 'tier' {FAILED}Member must satisfy enum value set: [Standard, Advanced, Intelligent-Tiering]",
        ),
        (
            "ssm",
            "GetParameters",
            '{"Names": []}',
            "ValidationException",
            f"Value '[]' at 'names' {FAILED}Member must have length greater than or equal to 1",
        ),
    ],
)
def test_limits_of_the_model(service, operation, body, code, message):
    with pytest.raises(ServiceError) as caught:
        parse(service, operation, body)
    assert (caught.value.code, caught.value.message) == (code, BEGINNING + message)


def test_all_violations_are_told_at_once():
    with pytest.raises(ServiceError, match=r"2 validation errors detected: Value null at .*; Value null at ") as caught:
        parse("service-quotas", "RequestServiceQuotaIncrease", '{"DesiredValue": 3}')
    assert caught.value.code == "ValidationException"


def test_a_secret_is_not_repeated():
    with pytest.raises(ServiceError, match="detected: Value at 'newPassword' failed") as caught:
        parse("iam", "ChangePassword", f"OldPassword=a&NewPassword={'secret' * 40}")
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"Names": "a"}', "STRING_VALUE can not be converted to a List"),
        ('{"Names": [1]}', "NUMBER_VALUE can not be converted to a String"),
        ('{"Names": ["a"], "WithDecryption": "true"}', "STRING_VALUE can not be converted to a Boolean"),
        ("[]", "START_ARRAY can not be converted to a Structure"),
    ],
)
def test_json_values_of_another_type(body, message):
    with pytest.raises(ServiceError) as caught:
        parse("ssm", "GetParameters", body)
    assert (caught.value.code, caught.value.message) == ("SerializationException", message)


def test_json_ignores_nulls_and_members_that_it_does_not_know():
    body = '{"Names": ["a"], "WithDecryption": null, "Unknown": {"x": 1}}'
    assert parse("ssm", "GetParameters", body) == {"Names": ["a"]}


@pytest.mark.parametrize(
    ("service", "protocol", "operation", "result"),
    [
        ("ec2", "ec2", "DescribeVpcs", {"Vpcs": [{"VpcID": "vpc-1"}]}),
        ("ec2", "ec2", "DeleteVpc", {"Return": True}),
        ("iam", "query", "GetUser", {"user": {}}),
        ("ssm", "json", "GetParameter", {"Parameter": {"name": "a"}}),
        ("cloudwatch", "smithy-rpc-v2-cbor", "ListMetrics", {"Metric": []}),
        ("s3", "rest-xml", "ListBuckets", {"Bucket": []}),
        ("s3", "rest-xml", "HeadBucket", {"Bucket": "b"}),
        ("s3", "rest-xml", "GetBucketPolicy", {"Policies": "{}"}),
        ("s3", "rest-xml", "GetBucketLocation", {"Location": "x"}),
    ],
)
def test_a_result_with_a_member_that_is_not_modelled_is_a_programming_error(service, protocol, operation, result):
    with pytest.raises(KeyError):
        load_service(service, protocol).operation(operation).serialise(result, "id")


@pytest.mark.parametrize(
    ("service", "protocol", "operation", "result"),
    [
        ("ec2", "ec2", "DescribeVpcs", {"Vpcs": [{"VpcId": 1}]}),
        ("ec2", "ec2", "DescribeVolumes", {"Volumes": [{"Size": "8"}]}),
        ("ssm", "json", "GetParameter", {"Parameter": {"Name": 1}}),
        ("ssm", "json", "GetParameter", {"Parameter": {"Version": "1"}}),
        ("cloudwatch", "smithy-rpc-v2-cbor", "ListMetrics", {"NextToken": 1}),
    ],
)
def test_a_result_with_a_value_of_another_type_is_a_programming_error(service, protocol, operation, result):
    with pytest.raises((TypeError, ValueError)):
        load_service(service, protocol).operation(operation).serialise(result, "id")


def test_the_form_of_ec2_answers():
    operation = load_service("ec2").operation("DescribeVpcs")
    text = operation.serialise(
        {"Vpcs": [{"VpcId": "vpc-1", "IsDefault": True}], "NextToken": None}, "the-id"
    ).body.decode()
    assert text == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>the-id</requestId>'
        "<vpcSet><item><vpcId>vpc-1</vpcId><isDefault>true</isDefault></item></vpcSet></DescribeVpcsResponse>"
    )
    text = load_service("ec2").operation("DeleteVpc").serialise({}, "the-id").body.decode()
    assert "<requestId>the-id</requestId><return>true</return></DeleteVpcResponse>" in text


def test_what_xml_can_not_hold_is_replaced():
    operation = load_service("ec2").operation("GetConsoleOutput")
    body = operation.serialise({"Output": "a\x00b\x1b[0m\r\n\ud800<&>"}, "id").body
    assert "<output>a\ufffdb\ufffd[0m&#13;\n\ufffd&lt;&amp;&gt;</output>".encode() in body


def test_s3_location_is_a_bare_element():
    body = load_service("s3").operation("GetBucketLocation").serialise({"LocationConstraint": "eu-west-1"}, "id").body
    assert body.endswith(
        b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>'
    )


def test_no_header_can_be_smuggled_in():
    operation = load_service("s3").operation("GetObject")
    response = operation.serialise({"ContentDisposition": "a\r\nSet-Cookie: b", "Metadata": {"k": "x\ny"}}, "id")
    assert ("Content-Disposition", "a  Set-Cookie: b") in response.headers
    assert ("x-amz-meta-k", "x y") in response.headers


def test_what_is_known_of_the_parameters():
    members = load_service("ec2").operation("RunInstances").input_members
    assert members["MinCount"].type == "integer"
    assert members["MinCount"].required
    assert not members["ImageId"].required
    assert members["ClientToken"].idempotency_token
    assert load_service("ec2").operation("DescribeRegions").input_members["RegionNames"].type == "list"
