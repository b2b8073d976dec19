"""Fragments are written once, and read the same as what they stand for."""

import pytest
from protocol_oracle import parse, service_model

from pileus.aws.protocol import Fragment, load_service
from pileus.aws.protocol.fragment import FragmentCache

RESERVATIONS = [{"ReservationId": f"r-{n}", "Instances": [{"InstanceId": f"i-{n}"}]} for n in range(3)]


def test_an_answer_with_fragments_is_the_answer_without():
    operation = load_service("ec2").operation("DescribeInstances")
    plain = operation.serialise({"Reservations": RESERVATIONS}, "id")
    items = [Fragment((item["ReservationId"], 1), lambda item=item: item) for item in RESERVATIONS]
    for _ in range(2):
        assert operation.serialise({"Reservations": items}, "id") == plain


def test_an_unchanged_fragment_is_built_once_and_a_changed_one_again():
    operation = load_service("ec2").operation("DescribeVpcs")
    built = []

    def vpc(version):
        return Fragment(("vpc-once", version), lambda: built.append(version) or {"VpcId": f"vpc-{version}"})

    for version in (1, 1, 2, 2):
        body = operation.serialise({"Vpcs": [vpc(version)]}, "id").body
        assert f"<vpcId>vpc-{version}</vpcId>".encode() in body
    assert built == [1, 2]


def test_one_key_under_two_shapes_is_two_texts():
    service = load_service("ec2")
    service.operation("DescribeVpcs").serialise({"Vpcs": [Fragment("same", lambda: {"VpcId": "vpc-1"})]}, "id")
    body = service.operation("DescribeSubnets").serialise(
        {"Subnets": [Fragment("same", lambda: {"SubnetId": "subnet-1"})]}, "id"
    )
    assert b"<subnetId>subnet-1</subnetId>" in body.body


@pytest.mark.parametrize("protocol", ["query", "json", "smithy-rpc-v2-cbor"])
def test_every_protocol_takes_fragments(protocol):
    operation = load_service("cloudwatch", protocol).operation("ListMetrics")
    response = operation.serialise({"Metrics": [Fragment(1, lambda: {"Namespace": "AWS/EC2"})]}, "id")
    shape = service_model("cloudwatch").operation_model("ListMetrics").output_shape
    assert parse(protocol, shape, response)["Metrics"] == [{"Namespace": "AWS/EC2"}]


def test_the_least_recently_used_text_makes_room():
    cache = FragmentCache(limit=20)
    built = []

    def render(key):
        return cache.render(Fragment(key, lambda: built.append(key) or {}), writer)

    def writer(_):
        return "0123456789"

    for key in ("a", "b", "a", "c", "a", "b"):
        assert render(key) == "0123456789"
    assert built == ["a", "b", "c", "b"]
