import pytest

from pileus.aws.http import Headers, HttpRequest
from pileus.aws.models import load_model
from pileus.aws.routing import SIGNING_NAMES, route
from pileus.aws.s3_hosts import path_style
from pileus.base.errors import ServiceError


def request(method="POST", path="/", query="", body=b"", **headers):
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return HttpRequest(method, path, query, Headers(fields), body)


def found(sent, scope):
    route_ = route(sent, scope)
    return route_.service.name, route_.operation, route_.protocol


@pytest.mark.parametrize(
    ("sent", "scope", "expected"),
    [
        (request(body=b"Action=DescribeVpcs&Version=2016-11-15"), "ec2", ("ec2", "DescribeVpcs", "ec2")),
        (request("GET", query="Version=2014-10-01&Action=DescribeVpcs"), "ec2", ("ec2", "DescribeVpcs", "ec2")),
        (request("GET", query="Action=DescribeVpcs&AWSAccessKeyId=A"), None, ("ec2", "DescribeVpcs", "ec2")),
        (
            request(body=b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15"),
            None,
            ("sts", "AssumeRoleWithWebIdentity", "query"),
        ),
        (request(x_amz_target="AmazonSSM.GetParameter"), "ssm", ("ssm", "GetParameter", "json")),
        (request(x_amz_target="TrentService.Encrypt"), None, ("kms", "Encrypt", "json")),
        (
            request(x_amz_target="GraniteServiceVersion20100801.ListMetrics"),
            "monitoring",
            ("cloudwatch", "ListMetrics", "json"),
        ),
        (request(body=b"Action=ListMetrics"), "monitoring", ("cloudwatch", "ListMetrics", "query")),
        (
            request(path="/service/GraniteServiceVersion20100801/operation/ListMetrics", smithy_protocol="rpc-v2-cbor"),
            "monitoring",
            ("cloudwatch", "ListMetrics", "smithy-rpc-v2-cbor"),
        ),
        (
            request(path="/service/GraniteServiceVersion20100801/operation/ListMetrics", smithy_protocol="rpc-v2-cbor"),
            None,
            ("cloudwatch", "ListMetrics", "smithy-rpc-v2-cbor"),
        ),
        (request("GET"), "s3", ("s3", "ListBuckets", "rest-xml")),
        (request("GET", "/bucket/"), "s3", ("s3", "ListObjects", "rest-xml")),
        (request("GET", "/bucket", "list-type=2&prefix=a"), "s3", ("s3", "ListObjectsV2", "rest-xml")),
        (request("GET", "/bucket/key", "uploadId=x"), "s3", ("s3", "ListParts", "rest-xml")),
        (request("PUT", "/b/k", "partNumber=1&uploadId=x"), "s3", ("s3", "UploadPart", "rest-xml")),
        (request("PUT", "/b/k", x_amz_copy_source="/b/k"), "s3", ("s3", "CopyObject", "rest-xml")),
        (request("GET", "/public/key"), None, ("s3", "GetObject", "rest-xml")),
    ],
)
def test_the_operation_is_found(sent, scope, expected):
    assert found(sent, scope) == expected


@pytest.mark.parametrize(
    ("sent", "scope", "code", "message"),
    [
        (request(body=b"Action=Nope"), "ec2", "InvalidAction", "The action Nope is not valid for this web service."),
        (request(body=b"Action=Nope"), None, "InvalidAction", "The action Nope is not valid for this web service."),
        (
            request(body=b"Action=Nope&Version=2010-05-08"),
            "iam",
            "InvalidAction",
            "Could not find operation Nope for version 2010-05-08",
        ),
        (request(x_amz_target="AmazonSSM.Nope"), "ssm", "UnknownOperationException", "The operation Nope is not known"),
        (
            request(x_amz_target="Other.GetParameter"),
            "ssm",
            "UnknownOperationException",
            "The operation Other.GetParameter is not known",
        ),
        (request(), "ec2", "MissingAction", "The request must contain the parameter Action"),
        (request(), "nonsense", "UnknownService", "There is no service nonsense here"),
        (request(x_amz_target="Other.GetParameter"), None, "UnknownService", "There is no service Other here"),
    ],
)
def test_what_does_not_exist_is_refused_in_the_words_of_the_protocol(sent, scope, code, message):
    with pytest.raises(ServiceError) as caught:
        route(sent, scope)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_s3_has_its_own_words():
    with pytest.raises(ServiceError) as caught:
        route(request("PATCH", "/bucket"), "s3")
    assert (caught.value.code, caught.value.status) == ("MethodNotAllowed", 405)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/b/k", {"Bucket": "b", "Key": "k"}),
        ("/b/dir//a%20b%2Fc/", {"Bucket": "b", "Key": "dir//a b/c/"}),
        ("/b/%C3%A4", {"Bucket": "b", "Key": "ä"}),
    ],
)
def test_path_parameters_are_decoded(path, params):
    assert route(request("GET", path), "s3").path_params == params


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("b.s3.example", "/b/key"),
        ("B.s3.example:8080", "/b/key"),
        ("a.b.s3.example", "/a.b/key"),
        ("s3.example:8080", "/key"),
        ("b.s3.eu-west-1.example", "/b/key"),
        ("a.b.s3-eu-west-1.example", "/a.b/key"),
        ("b.localhost:4566", "/b/key"),
        ("s3.localhost", "/key"),
        ("b.s3.localhost", "/b/key"),
        ("s3.eu-west-1.example", "/key"),
        ("localhost", "/key"),
        ("127.0.0.1", "/key"),
        ("other.example", "/key"),
    ],
)
def test_a_bucket_in_the_host_name_moves_into_the_path(host, path):
    assert path_style(request("GET", "/key", host=host)).path == path


def test_signing_names_are_those_of_the_models():
    for signing_name, service in SIGNING_NAMES.items():
        metadata = load_model(service).metadata
        assert signing_name == (metadata.signing_name or metadata.endpoint_prefix)
