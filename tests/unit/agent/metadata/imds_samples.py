"""Metadata of instances, for tests of the metadata service."""

from hypothesis import strategies as st

from pileus.hostapi.spec import MetadataInterface, MetadataSpec

INTERFACE = MetadataInterface(
    mac="06:00:00:00:00:01",
    interface_id="eni-1",
    index=0,
    subnet_id="subnet-1",
    subnet_cidr="10.0.0.0/24",
    vpc_id="vpc-1",
    vpc_cidrs=("10.0.0.0/16", "10.1.0.0/16"),
    owner_id="123456789012",
    private_addresses=("10.0.0.4", "10.0.0.5"),
    local_hostname="ip-10-0-0-4.ec2.internal",
    public_addresses=(("203.0.113.7", "10.0.0.4"), ("203.0.113.8", "10.0.0.5")),
    subnet_ipv6_cidr="2001:db8::/64",
    vpc_ipv6_cidrs=("2001:db8::/56",),
    ipv6_addresses=("2001:db8::4", "2001:db8::5"),
    ipv4_prefixes=("10.0.0.16/28",),
    ipv6_prefixes=("2001:db8:0:0:1::/80",),
    public_hostname="ec2-203-0-113-7.compute-1.amazonaws.com",
    security_groups=("default", "web"),
    security_group_ids=("sg-1", "sg-2"),
)
GUEST = MetadataSpec(
    instance_id="i-1",
    account="123456789012",
    region="us-east-1",
    zone="us-east-1a",
    zone_id="use1-az1",
    image_id="ami-1",
    instance_type="t3.micro",
    reservation_id="r-1",
    launch_index=0,
    architecture="x86_64",
    pending_time="2026-01-01T00:00:00.000Z",
    local_hostname="ip-10-0-0-4.ec2.internal",
    interfaces=(INTERFACE,),
    security_groups=("default", "web"),
    public_keys=(("mine", "ssh-ed25519 AAAA mine"),),
    user_data="AAFoZWxsbw==",
    tags=(("Name", "a=b"), ("purpose", "test")),
    block_devices=(("ami", "/dev/xvda"), ("root", "/dev/xvda")),
)

_text = st.text(st.characters(codec="utf-8", exclude_characters="/\n\r"), min_size=1, max_size=8)

guests = st.builds(
    MetadataSpec,
    **dict.fromkeys(("instance_id", "account", "region", "zone", "zone_id", "image_id", "instance_type"), _text),
    reservation_id=_text,
    launch_index=st.integers(0, 99),
    architecture=_text,
    pending_time=st.just("2026-01-01T00:00:00Z"),
    local_hostname=_text,
    interfaces=st.lists(
        st.builds(
            MetadataInterface,
            **dict.fromkeys(("mac", "interface_id", "subnet_id", "subnet_cidr", "vpc_id", "owner_id"), _text),
            index=st.integers(0, 3),
            vpc_cidrs=st.lists(_text, min_size=1, max_size=2).map(tuple),
            private_addresses=st.lists(_text, min_size=1, max_size=3).map(tuple),
            local_hostname=_text,
            public_addresses=st.lists(st.tuples(_text, _text), max_size=3).map(tuple),
            subnet_ipv6_cidr=st.none() | _text,
            ipv6_addresses=st.lists(_text, max_size=2).map(tuple),
            ipv4_prefixes=st.lists(_text, max_size=2).map(tuple),
            public_hostname=st.none() | _text,
        ),
        max_size=3,
        unique_by=lambda interface: interface.mac,
    ).map(tuple),
    security_groups=st.lists(_text, max_size=2).map(tuple),
    public_keys=st.lists(st.tuples(_text, _text), max_size=3).map(tuple),
    tags=st.none() | st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4).map(tuple),
    block_devices=st.lists(st.tuples(_text, _text), max_size=3).map(tuple),
)
