import pytest

from pileus.records.flow_log import DEFAULT_FORMAT, FIELDS, fields_of, version_of

MISSING = "fl-0123456789abcdef0"


@pytest.fixture
async def bucket(cloud):
    await cloud.call("s3", "CreateBucket", Bucket="flows")
    return "arn:aws:s3:::flows"


@pytest.fixture
async def subnet(ec2):
    return (await ec2("DescribeSubnets"))["Subnets"][0]


@pytest.fixture
def wanted(bucket, subnet):
    return {
        "ResourceIds": [subnet["VpcId"]],
        "ResourceType": "VPC",
        "TrafficType": "ALL",
        "LogDestinationType": "s3",
        "LogDestination": bucket,
    }


async def described(ec2, **params):
    return (await ec2("DescribeFlowLogs", **params))["FlowLogs"]


async def test_as_it_was_asked_for(cloud, ec2, wanted):
    tags = [{"Key": "a", "Value": "b"}]
    made = await ec2(
        "CreateFlowLogs",
        **wanted,
        ClientToken="t",
        TagSpecifications=[{"ResourceType": "vpc-flow-log", "Tags": tags}],
    )
    assert (made["ClientToken"], made["Unsuccessful"]) == ("t", [])
    (told,) = await described(ec2)
    assert told == {
        "CreationTime": cloud.clock.now(),
        "DeliverLogsStatus": "SUCCESS",
        "FlowLogId": made["FlowLogIds"][0],
        "FlowLogStatus": "ACTIVE",
        "ResourceId": wanted["ResourceIds"][0],
        "TrafficType": "ALL",
        "LogDestinationType": "s3",
        "LogDestination": "arn:aws:s3:::flows",
        "LogFormat": DEFAULT_FORMAT,
        "MaxAggregationInterval": 600,
        "DestinationOptions": {
            "FileFormat": "plain-text",
            "HiveCompatiblePartitions": False,
            "PerHourPartition": False,
        },
        "Tags": tags,
    }


async def test_every_kind_of_resource_and_option(ec2, wanted, subnet, launch):
    interface = (await launch())["NetworkInterfaces"][0]["NetworkInterfaceId"]
    options = {"PerHourPartition": True, "HiveCompatiblePartitions": True, "FileFormat": "plain-text"}
    for kind, id_ in (("Subnet", subnet["SubnetId"]), ("NetworkInterface", interface)):
        params = {**wanted, "ResourceType": kind, "ResourceIds": [id_], "TrafficType": "REJECT"}
        params |= {"LogDestination": "arn:aws:s3:::flows/here/", "MaxAggregationInterval": 60}
        params |= {"LogFormat": "${srcaddr} ${traffic-path}", "DestinationOptions": options}
        (made,) = (await ec2("CreateFlowLogs", **params))["FlowLogIds"]
        (told,) = await described(ec2, FlowLogIds=[made])
        assert (told["ResourceId"], told["MaxAggregationInterval"]) == (id_, 60)
        assert (told["LogFormat"], told["DestinationOptions"]) == ("${srcaddr} ${traffic-path}", options)


async def test_a_repeated_token_makes_nothing(ec2, refused, wanted):
    made = await ec2("CreateFlowLogs", **wanted, ClientToken="t")
    assert await ec2("CreateFlowLogs", **wanted, ClientToken="t") == made
    other = {**wanted, "TrafficType": "REJECT"}
    assert await refused("CreateFlowLogs", **other, ClientToken="t") == "IdempotentParameterMismatch"
    assert len(await described(ec2)) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ResourceType": "TransitGateway"}, "Unsupported"),
        ({"ResourceType": "Instance"}, "InvalidParameterValue"),
        ({"ResourceIds": []}, "MissingParameter"),
        ({"ResourceIds": ["vpc-0123456789abcdef0"]}, "InvalidVpcID.NotFound"),
        ({"ResourceType": "Subnet"}, "InvalidSubnetID.Malformed"),
        ({"TrafficType": None}, "MissingParameter"),
        ({"TrafficType": "SOME"}, "InvalidParameterValue"),
        ({"LogDestinationType": None}, "Unsupported"),
        ({"LogDestinationType": "kinesis-data-firehose"}, "Unsupported"),
        ({"LogDestinationType": "tape"}, "InvalidParameterValue"),
        ({"LogGroupName": "x"}, "InvalidParameter"),
        ({"DeliverLogsPermissionArn": "arn:aws:iam::000000000001:role/x"}, "InvalidParameter"),
        ({"LogDestination": None}, "InvalidParameter"),
        ({"LogDestination": "flows"}, "InvalidParameter"),
        ({"LogDestination": "arn:aws:s3:::flows/AWSLogs/"}, "InvalidParameter"),
        ({"LogFormat": ""}, "InvalidParameter"),
        ({"LogFormat": "${mood}"}, "InvalidParameter"),
        ({"LogFormat": "srcaddr"}, "InvalidParameter"),
        ({"MaxAggregationInterval": 300}, "InvalidParameter"),
        ({"DestinationOptions": {"FileFormat": "parquet"}}, "Unsupported"),
        ({"TagFieldSpecifications": [{"ResourceType": "instance", "TagKeys": ["a"]}]}, "Unsupported"),
    ],
)
async def test_what_is_refused(ec2, refused, wanted, changes, code):
    params = {name: value for name, value in {**wanted, **changes}.items() if value is not None}
    assert await refused("CreateFlowLogs", **params) == code
    assert await described(ec2) == []


async def test_not_twice_the_same_and_no_more_than_two(ec2, refused, wanted):
    await ec2("CreateFlowLogs", **wanted)
    assert await refused("CreateFlowLogs", **wanted) == "FlowLogAlreadyExists"
    await ec2("CreateFlowLogs", **{**wanted, "TrafficType": "ACCEPT"})
    assert await refused("CreateFlowLogs", **{**wanted, "TrafficType": "REJECT"}) == "FlowLogsLimitExceeded"


async def test_without_the_bucket(ec2, wanted):
    params = {**wanted, "LogDestination": "arn:aws:s3:::nowhere/x"}
    made = await ec2("CreateFlowLogs", **params)
    message = "LogDestination: nowhere does not exist"
    assert made["FlowLogIds"] == []
    assert made["Unsuccessful"] == [
        {"ResourceId": wanted["ResourceIds"][0], "Error": {"Code": "400", "Message": message}}
    ]
    assert await described(ec2) == []


def policy(account="000000000001", **conditions):
    return f"""{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
        "Principal": {{"Service": "delivery.logs.amazonaws.com"}}, "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::theirs/AWSLogs/{account}/*",
        "Condition": {{"StringEquals": {{"s3:x-amz-acl": "bucket-owner-full-control", "aws:SourceAccount": "{account}"}},
                       "ArnLike": {{"aws:SourceArn": "arn:aws:logs:us-east-1:{account}:*"}}}}}}]}}"""


async def test_another_accounts_bucket_takes_them_when_its_policy_says_so(cloud, ec2, wanted):
    other = cloud.of("000000000002")
    await other.call("s3", "CreateBucket", Bucket="theirs")
    params = {**wanted, "LogDestination": "arn:aws:s3:::theirs"}
    denied = "Access Denied for LogDestination: theirs. Please check LogDestination permission"

    async def outcome():
        return (await ec2("CreateFlowLogs", **params))["Unsuccessful"]

    assert [one["Error"]["Message"] for one in await outcome()] == [denied]
    await other.call("s3", "PutBucketPolicy", Bucket="theirs", Policy=policy("000000000003"))
    assert [one["Error"]["Message"] for one in await outcome()] == [denied]
    await other.call("s3", "PutBucketPolicy", Bucket="theirs", Policy=policy(cloud.account))
    assert await outcome() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deliver-log-status", "SUCCESS"),
        ("log-destination-type", "s3"),
        ("flow-log-id", "fl-*"),
        ("resource-id", "vpc-*"),
        ("traffic-type", "ALL"),
    ],
)
async def test_filters(ec2, wanted, name, value):
    await ec2("CreateFlowLogs", **wanted)
    assert len(await described(ec2, Filter=[{"Name": name, "Values": [value]}])) == 1
    assert await described(ec2, Filter=[{"Name": name, "Values": ["x"]}]) == []


async def test_filters_of_groups_that_it_does_not_have(ec2, refused, wanted):
    await ec2("CreateFlowLogs", **wanted)
    assert await described(ec2, Filter=[{"Name": "log-group-name", "Values": ["x"]}]) == []
    assert await refused("DescribeFlowLogs", Filter=[{"Name": "mood", "Values": ["x"]}]) == "InvalidParameterValue"


async def test_tags_and_the_end(cloud, ec2, refused, wanted):
    (made,) = (await ec2("CreateFlowLogs", **wanted))["FlowLogIds"]
    await ec2("CreateTags", Resources=[made], Tags=[{"Key": "a", "Value": "b"}])
    assert (await ec2("DescribeTags"))["Tags"][0]["ResourceType"] == "vpc-flow-log"
    assert await refused("DeleteFlowLogs", FlowLogIds=[made, MISSING]) == "InvalidFlowLogId.NotFound"
    theirs = await cloud.of("000000000002").refusal("ec2", "DeleteFlowLogs", FlowLogIds=[made])
    assert theirs.code == "InvalidFlowLogId.NotFound"
    assert await ec2("DeleteFlowLogs", FlowLogIds=[made]) == {"Unsuccessful": []}
    assert await refused("DescribeFlowLogs", FlowLogIds=[made]) == "InvalidFlowLogId.NotFound"


def test_the_version_is_that_of_the_newest_field():
    assert version_of(fields_of(DEFAULT_FORMAT)) == 2
    assert version_of(fields_of("${srcaddr} ${traffic-path} ${vpc-id}")) == 5
    assert version_of(fields_of(" ".join(f"${{{name}}}" for name in FIELDS))) == 8
