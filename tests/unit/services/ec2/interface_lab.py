"""A VPC with IPv6 and an internet gateway to try interfaces in, and short ways to ask for them."""

import msgspec


class Lab(msgspec.Struct):
    vpc: str
    subnet: str
    other_subnet: str
    ipv6: str


async def make_lab(ec2):
    vpc = (await ec2("CreateVpc", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True))["Vpc"]
    vpc_id = vpc["VpcId"]
    await ec2("ModifyVpcAttribute", VpcId=vpc_id, EnableDnsHostnames={"Value": True})
    gateway = (await ec2("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
    await ec2("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc_id)
    ipv6 = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    made = [
        (await ec2("CreateSubnet", VpcId=vpc_id, AvailabilityZone=zone, **more))["Subnet"]["SubnetId"]
        for zone, more in (
            ("us-east-1a", {"CidrBlock": "10.0.1.0/24", "Ipv6CidrBlock": ipv6}),
            ("us-east-1b", {"CidrBlock": "10.0.2.0/24"}),
        )
    ]
    return Lab(vpc_id, *made, ipv6)


async def interface(ec2, interface_id):
    return (await ec2("DescribeNetworkInterfaces", NetworkInterfaceIds=[interface_id]))["NetworkInterfaces"][0]


async def instance(ec2, instance_id):
    return (await ec2("DescribeInstances", InstanceIds=[instance_id]))["Reservations"][0]["Instances"][0]
