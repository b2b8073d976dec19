"""botocore's own clients against the gateway over HTTP: what they send is dispatched, what they get is understood."""

import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from gateway_requests import ACCESS_KEY, ACCOUNT, REGIONS, SECRET, SESSION_KEY, SESSION_TOKEN, signed_form
from libcloud.compute.drivers.ec2 import EC2NodeDriver

from pileus.base.errors import ServiceError
from pileus.gateway.throttle import Throttle


def test_ec2(client, dispatch):
    dispatch.results["DescribeInstances"] = {
        "Reservations": [{"ReservationId": "r-1", "Instances": [{"InstanceId": "i-1"}]}]
    }
    answer = client("ec2").describe_instances(InstanceIds=["i-1"], Filters=[{"Name": "tag:a b", "Values": ["é&=", ""]}])
    assert answer["Reservations"][0]["Instances"] == [{"InstanceId": "i-1"}]
    (call,) = dispatch.calls
    assert (call.service, call.operation, call.region) == ("ec2", "DescribeInstances", REGIONS[0])
    assert call.params == {"InstanceIds": ["i-1"], "Filters": [{"Name": "tag:a b", "Values": ["é&=", ""]}]}
    assert (call.identity.account, call.identity.access_key) == (ACCOUNT, ACCESS_KEY)
    assert call.source_address == "127.0.0.1"
    assert call.user_agent.startswith("Botocore/")
    assert answer["ResponseMetadata"]["RequestId"] == call.request_id
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == call.request_id


def test_sts(client, dispatch):
    dispatch.results["GetCallerIdentity"] = {"Account": ACCOUNT, "UserId": "u", "Arn": "a"}
    assert client("sts").get_caller_identity()["Account"] == ACCOUNT


def test_ssm(client, dispatch):
    dispatch.results["GetParameter"] = {"Parameter": {"Name": "/a", "Value": "v"}}
    assert client("ssm").get_parameter(Name="/a")["Parameter"]["Value"] == "v"
    assert dispatch.calls[0].params == {"Name": "/a"}


def test_cbor(client, dispatch):
    dispatch.results["DescribeAlarms"] = {"MetricAlarms": [{"AlarmName": "a"}]}
    answer = client("cloudwatch").describe_alarms(AlarmNames=["a"])
    assert answer["MetricAlarms"] == [{"AlarmName": "a"}]
    assert dispatch.calls[0].params == {"AlarmNames": ["a"]}
    with pytest.raises(ClientError) as error:
        client("cloudwatch", secret="wrong").describe_alarms()
    assert error.value.response["Error"]["Code"] == "InvalidSignatureException"


def test_s3(client, dispatch):
    client("s3").put_object(Bucket="bucket", Key="a b/é+~(1)", Body=b"x" * 100_000, Metadata={"k": "v  w"})
    params = dispatch.calls[0].params
    assert (params["Bucket"], params["Key"], params["Metadata"]) == ("bucket", "a b/é+~(1)", {"k": "v  w"})
    assert params["Body"] == b"x" * 100_000
    with pytest.raises(ClientError) as error:
        client("s3", key="AKIAUNKNOWN").list_objects_v2(Bucket="bucket")
    assert error.value.response["Error"]["Code"] == "InvalidAccessKeyId"


@pytest.mark.parametrize("region", REGIONS)
def test_the_region_is_that_of_the_signature(client, dispatch, region):
    client("ec2", region=region).describe_vpcs()
    assert dispatch.calls[0].region == region


def test_session_tokens(client, dispatch):
    client("ec2", key=SESSION_KEY, token=SESSION_TOKEN).describe_vpcs()
    assert dispatch.calls[0].identity.access_key == SESSION_KEY


def test_presigned_urls(client, served, dispatch):
    url = urlsplit(
        client("ec2").generate_presigned_url("describe_vpcs", Params={"VpcIds": ["vpc-1"]}, HttpMethod="GET")
    )
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    connection.request("GET", f"{url.path}?{url.query}")
    assert connection.getresponse().status == 200
    assert dispatch.calls[0].params == {"VpcIds": ["vpc-1"]}
    connection.close()


def test_libcloud(served, dispatch):
    instance = {"InstanceId": "i-1", "State": {"Name": "running"}, "ImageId": "ami-1", "Placement": {}}
    dispatch.results["DescribeInstances"] = {"Reservations": [{"Instances": [instance]}]}
    url = urlsplit(served())
    driver = EC2NodeDriver(ACCESS_KEY, SECRET, host=url.hostname, port=url.port, secure=False, signature_version="2")
    assert [node.id for node in driver.list_nodes(ex_node_ids=["i-1"])] == ["i-1"]
    assert dispatch.calls[0].params == {"InstanceIds": ["i-1"]}


ERRORS = [
    ("ec2", "describe_vpcs", {}, {"secret": "wrong"}, "SignatureDoesNotMatch", 403),
    ("ec2", "describe_vpcs", {}, {"key": "AKIAUNKNOWN"}, "AuthFailure", 401),
    ("ec2", "describe_vpcs", {}, {"key": SESSION_KEY, "token": "another"}, "AuthFailure", 401),
    ("ec2", "describe_vpcs", {}, {"region": "us-west-2"}, "AuthFailure", 401),
    ("sts", "get_caller_identity", {}, {"secret": "wrong"}, "SignatureDoesNotMatch", 403),
    ("sts", "get_caller_identity", {}, {"key": "AKIAUNKNOWN"}, "InvalidClientTokenId", 403),
    ("sts", "get_caller_identity", {}, {"region": "us-west-2"}, "SignatureDoesNotMatch", 403),
    ("ssm", "get_parameter", {"Name": "a"}, {"secret": "wrong"}, "InvalidSignatureException", 400),
    ("ssm", "get_parameter", {"Name": "a"}, {"key": "AKIAUNKNOWN"}, "UnrecognizedClientException", 400),
    ("ssm", "get_parameter", {"Name": "a"}, {"region": "us-west-2"}, "InvalidSignatureException", 400),
]


@pytest.mark.parametrize(("service", "method", "params", "options", "code", "status"), ERRORS)
def test_refusals_in_the_words_of_each_service(client, dispatch, service, method, params, options, code, status):
    with pytest.raises(ClientError) as error:
        getattr(client(service, **options), method)(**params)
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert answer["ResponseMetadata"]["RequestId"]
    assert not dispatch.calls
    if "region" in options:
        assert "Credential should be scoped to a valid region" in answer["Error"]["Message"]


def test_clocks_that_differ(client, clock):
    clock.ahead = 600
    for service, method, code in (
        ("ec2", "describe_vpcs", "RequestExpired"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ClientError) as error:
            getattr(client(service), method)()
        assert error.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("service", "method"), [("ec2", "describe_vpcs"), ("sts", "get_caller_identity"), ("ssm", "get_parameters")]
)
def test_errors_of_services_and_faults_of_ours(client, dispatch, caplog, service, method):
    params = {"Names": ["a"]} if service == "ssm" else {}
    operation = {
        "describe_vpcs": "DescribeVpcs",
        "get_caller_identity": "GetCallerIdentity",
        "get_parameters": "GetParameters",
    }[method]
    dispatch.results[operation] = ServiceError("There is no <x> & 'y'", code="Some.Code", status=412)
    with pytest.raises(ClientError) as error:
        getattr(client(service), method)(**params)
    answer = error.value.response
    assert answer["Error"]["Code"] == "Some.Code"
    assert answer["Error"]["Message"] == "There is no <x> & 'y'"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 412

    dispatch.results[operation] = KeyError("a secret detail")
    with pytest.raises(ClientError) as error:
        getattr(client(service), method)(**params)
    answer = error.value.response
    assert answer["Error"]["Code"] == "InternalError"
    assert answer["Error"]["Message"] == "An internal error has occurred"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "secret" not in json.dumps(answer)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.request_id == answer["ResponseMetadata"]["RequestId"]


def test_throttling(client, clock):
    ec2 = client("ec2", throttle=Throttle(clock))
    for _ in range(50):
        ec2.describe_instances()
    with pytest.raises(ClientError) as error:
        ec2.describe_instances()
    assert error.value.response["Error"] == {"Code": "RequestLimitExceeded", "Message": "Request limit exceeded."}
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    ec2.describe_instances(MaxResults=5)
    clock.ahead = 0.1
    ec2.describe_instances()


def test_connections_are_kept_and_continue_is_answered(served):
    address = urlsplit(served()).netloc.split(":")
    request = signed_form("Action=DescribeVpcs&Version=2016-11-15")
    head = "".join(f"{name}: {value}\r\n" for name, value in request["headers"].items())
    head = f"POST / HTTP/1.1\r\n{head}Content-Length: {len(request['body'])}\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection((address[0], int(address[1])), timeout=30) as connection:
        stream = connection.makefile("rwb")
        for _ in range(3):
            stream.write(head.encode())
            stream.flush()
            assert stream.readline().startswith(b"HTTP/1.1 100")
            assert stream.readline() == b"\r\n"
            stream.write(request["body"])
            stream.flush()
            assert stream.readline().startswith(b"HTTP/1.1 200")
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert b"DescribeVpcsResponse" in stream.read(length)
        stream.close()


def test_a_slow_body_is_given_up(served):
    host, port = urlsplit(served(body_patience=0.2)).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nAction")
        answer = b""
        while piece := connection.recv(65536):  # to the end: the connection is closed
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"RequestTimeout" in answer
