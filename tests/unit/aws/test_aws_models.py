import subprocess
import sys

import pytest

from pileus.aws.models import load_model


def test_the_newest_version_of_a_model_is_read():
    model = load_model("ec2")
    assert model.metadata.api_version == "2016-11-15"
    assert model is load_model("ec2")
    assert "RunInstances" in model.operation_names


def test_a_reference_overrules_its_shape():
    model = load_model("ec2")
    filters = model.shape(model.shape(model.operation("DescribeVpcs").input).members["Filters"])
    assert (filters.shape, filters.type, filters.location_name) == ("FilterList", "list", "Filter")


def test_the_changes_of_botocores_authors_are_merged():
    model = load_model("s3")
    expires = model.shape(model.operation("GetObject").output).members["Expires"]
    assert model.shape(expires).type == "timestamp"


@pytest.mark.parametrize("name", ["nonsense", "", "../data"])
def test_a_service_that_botocore_does_not_have(name):
    with pytest.raises(LookupError):
        load_model(name)


def test_botocore_itself_is_not_imported():
    program = "import sys; from pileus.aws.routing import *; load_service('ec2'); print('botocore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_changes_are_merged_member_by_member():
    model = load_model("rds")
    members = model.shape(model.operation("CopyDBSnapshot").input).members
    assert "SourceRegion" in members
    assert "SourceDBSnapshotIdentifier" in members


def test_an_operation_has_the_name_that_clients_know():
    assert load_model("cloudfront").operation("GetDistribution").name == "GetDistribution"
