import pytest

from pileus.aws.arn import Arn


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("arn:aws:ec2:eu-central-1:123456789012:instance/i-0abc", "instance", "i-0abc"),
        ("arn:aws:iam::123456789012:user/team/anna", "user", "team/anna"),
        ("arn:aws:sns:eu-central-1:123456789012:topic", "", "topic"),
        ("arn:aws:ssm:eu-central-1::parameter/aws/service/x", "parameter", "aws/service/x"),
        ("arn:aws:kms:eu-central-1:123456789012:key:a:b", "key", "a:b"),
        ("arn:aws:s3:::bucket/key:with:colons", "bucket", "key:with:colons"),
    ],
)
def test_an_arn_is_read_and_written(text, kind, name):
    arn = Arn.parse(text)
    assert str(arn) == text
    assert (arn.resource_type, arn.resource_id) == (kind, name)


@pytest.mark.parametrize(
    "text", ["", "i-0abc", "arn:aws:ec2", "arn:aws:ec2:r:a:", "arn::ec2:r:a:x", "ARN:aws:ec2:r:a:x"]
)
def test_what_is_no_arn_is_refused(text):
    with pytest.raises(ValueError, match="not an ARN"):
        Arn.parse(text)
