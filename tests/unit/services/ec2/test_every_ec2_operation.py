"""What holds for all operations alike, whatever they do."""

import pytest
from documented import documented_filters, service_model
from senseless import JUNK, senseless

from pileus.base.errors import ServiceError
from pileus.records.instance import State
from pileus.services.ec2.api import ec2 as declared
from pileus.services.registry import SERVICES

OPERATIONS = sorted(declared.operations)


def members(operation):
    return service_model("ec2").operation_model(operation).input_shape.members


FILTERED = [name for name in OPERATIONS if "Filters" in members(name)]
PAGED = [
    name
    for name in OPERATIONS
    if "NextToken" in members(name) and not service_model("ec2").operation_model(name).input_shape.required_members
]

NEEDED = """
DescribeRegions DescribeAvailabilityZones DescribeAccountAttributes DescribeInstanceTypes DescribeInstanceTypeOfferings
CreateKeyPair ImportKeyPair DescribeKeyPairs DeleteKeyPair DescribeImages DescribeImageAttribute DescribeVpcs
DescribeVpcAttribute DescribeSubnets DescribeRouteTables DescribeInternetGateways DescribeNetworkAcls
DescribeNetworkInterfaces CreateSecurityGroup DeleteSecurityGroup DescribeSecurityGroups DescribeSecurityGroupRules
AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress RevokeSecurityGroupIngress RevokeSecurityGroupEgress
ModifySecurityGroupRules AllocateAddress ReleaseAddress AssociateAddress DisassociateAddress DescribeAddresses RunInstances
DescribeInstances DescribeInstanceStatus DescribeInstanceAttribute ModifyInstanceAttribute ModifyInstanceMetadataOptions
DescribeInstanceCreditSpecifications StartInstances StopInstances RebootInstances TerminateInstances GetConsoleOutput
GetConsoleScreenshot MonitorInstances UnmonitorInstances CreateTags DeleteTags DescribeTags DescribeVolumes
"""


def test_everything_that_clients_need_at_first_is_there():
    assert set(NEEDED.split()) <= set(OPERATIONS)


def test_every_declared_operation_is_one_of_the_model():
    for service in SERVICES:
        model = service_model(service.name)
        assert set(service.operations) <= set(model.operation_names)


@pytest.fixture
async def needed(ec2):
    """``needed("GetSecurityGroupsForVpc")``: ids for the parameters without which an operation lists nothing."""
    subnet = (await ec2("DescribeSubnets"))["Subnets"][0]

    def of(operation):
        required = service_model("ec2").operation_model(operation).input_shape.required_members
        return {name: subnet[name] for name in ("VpcId", "SubnetId") if name in required}

    return of


@pytest.mark.parametrize("operation", FILTERED)
async def test_takes_every_documented_filter(ec2, launch, needed, operation):
    await launch()
    names = documented_filters(operation)
    assert names
    for name in names:
        wanted = [{"Name": name, "Values": ["no-such-value", "*nothing?like\\*this*"]}]
        await ec2(operation, **needed(operation), Filters=wanted)


@pytest.mark.parametrize("operation", FILTERED)
async def test_refuses_filters_that_it_does_not_have(refused, needed, operation):
    given, name = needed(operation), documented_filters(operation)[0]
    unknown = [{"Name": "moon-phase", "Values": ["full"]}]
    assert await refused(operation, **given, Filters=unknown) == "InvalidParameterValue"
    assert await refused(operation, **given, Filters=[{"Name": name}]) == "InvalidParameterValue"


@pytest.mark.parametrize("operation", PAGED)
async def test_refuses_tokens_that_it_has_not_made(refused, needed, operation):
    token = "1.eyJmb3JnZWQiOiB0cnVlfQ=="
    assert await refused(operation, **needed(operation), NextToken=token) == "InvalidPaginationToken"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_dry_runs_change_nothing(cloud, operation):
    before = cloud.store.view().revision
    error = await cloud.refusal("ec2", operation, DryRun=True)
    assert (error.code, error.status) == ("DryRunOperation", 412)
    assert cloud.store.view().revision == before


@pytest.fixture
async def real(cloud, ec2, launch):
    """Parameters with which most operations find something to work on: a stopped instance and what belongs to it."""
    instance = await launch()
    instance_id, group = instance["InstanceId"], instance["SecurityGroups"][0]["GroupId"]
    cloud.enter(instance_id, State.STOPPED)
    await ec2("CreateKeyPair", KeyName="x", KeyType="ed25519")
    return {
        "AllocationId": (await ec2("AllocateAddress"))["AllocationId"],
        "GroupId": group,
        "ImageId": instance["ImageId"],
        "InstanceId": instance_id,
        "InstanceIds": [instance_id],
        "KeyName": "x",
        "MaxCount": 1,
        "MinCount": 1,
        "Resources": [instance_id, group],
        "Tags": [{"Key": "a", "Value": "b"}],
        "VpcId": instance["VpcId"],
    }


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_whatever_it_is_given_it_answers_or_refuses(cloud, real, operation):
    """Values of the model's types but without sense: an error of the service, never another exception."""
    shape = service_model("ec2").operation_model(operation).input_shape
    given = {name: value for name, value in real.items() if name in shape.members}
    for junk in JUNK:
        values = {name: list(senseless(member, junk)) for name, member in shape.members.items() if name != "DryRun"}
        whole = {name: examples[0] for name, examples in values.items()}
        needed = {name: whole[name] for name in shape.required_members}
        alone = [{name: example} for name, examples in values.items() for example in examples]
        for tried in (needed, whole, {**whole, **given}, *({**needed, **given, **one} for one in alone)):
            try:
                await cloud.call("ec2", operation, **tried)
            except ServiceError as error:
                assert error.status < 500 or error.code.startswith("Insufficient")
