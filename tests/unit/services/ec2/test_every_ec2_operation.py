"""What holds for all operations alike, whatever they do."""

import pytest
from documented import documented_filters, service_model
from senseless import JUNK, example

from pileus.base.errors import ServiceError
from pileus.services.ec2.api import ec2 as declared
from pileus.services.registry import SERVICES

OPERATIONS = sorted(declared.operations)


def members(operation):
    return service_model("ec2").operation_model(operation).input_shape.members


FILTERED = [name for name in OPERATIONS if "Filters" in members(name)]
PAGED = [name for name in OPERATIONS if "NextToken" in members(name)]

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


@pytest.mark.parametrize("operation", FILTERED)
async def test_takes_every_documented_filter(ec2, launch, operation):
    await launch()
    names = documented_filters(operation)
    assert names
    for name in names:
        await ec2(operation, Filters=[{"Name": name, "Values": ["no-such-value", "*nothing?like\\*this*"]}])


@pytest.mark.parametrize("operation", FILTERED)
async def test_refuses_filters_that_it_does_not_have(refused, operation):
    assert await refused(operation, Filters=[{"Name": "moon-phase", "Values": ["full"]}]) == "InvalidParameterValue"
    assert await refused(operation, Filters=[{"Name": documented_filters(operation)[0]}]) == "InvalidParameterValue"


@pytest.mark.parametrize("operation", PAGED)
async def test_refuses_tokens_that_it_has_not_made(refused, operation):
    assert await refused(operation, NextToken="1.eyJmb3JnZWQiOiB0cnVlfQ==") == "InvalidPaginationToken"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_dry_runs_change_nothing(cloud, operation):
    before = cloud.store.view().revision
    error = await cloud.refusal("ec2", operation, DryRun=True)
    assert (error.code, error.status) == ("DryRunOperation", 412)
    assert cloud.store.view().revision == before


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_whatever_it_is_given_it_answers_or_refuses(cloud, launch, operation):
    """Values of the model's types but without sense: an error of the service, never another exception."""
    await launch()
    shape = service_model("ec2").operation_model(operation).input_shape
    for junk in JUNK:
        values = {name: example(member, junk) for name, member in shape.members.items() if name != "DryRun"}
        needed = {name: values[name] for name in shape.required_members}
        for tried in (needed, values, *({**needed, name: values[name]} for name in values)):
            try:
                await cloud.call("ec2", operation, **tried)
            except ServiceError as error:
                assert error.status < 500 or error.code.startswith("Insufficient")
