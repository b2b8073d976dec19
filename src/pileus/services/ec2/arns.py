"""ARNs of EC2 resources."""

from pileus.records.tagged import Tagged


def arn(record: Tagged, type_: str) -> str:
    """The ARN of a record of this resource type, e.g. ``arn:aws:ec2:us-east-1:123456789012:subnet/subnet-…``."""
    return f"arn:aws:ec2:{record.region}:{record.account}:{type_}/{record.id}"
