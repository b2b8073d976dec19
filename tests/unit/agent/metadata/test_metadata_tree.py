"""The meta-data tree: contents as EC2 names them, and the law that clients crawl by."""

from hypothesis import given
from imds_samples import GUEST, INTERFACE, guests
from msgspec.structs import replace

from pileus.agent.metadata.tree import Directory, find, meta_data
from pileus.hostapi.spec import MetadataSpec


def read(guest: MetadataSpec, path: str) -> str | None:
    content = find(meta_data(guest), tuple(path.split("/")) if path else ())
    return None if content is None else content.decode()


@given(guests)
def test_everything_that_is_listed_is_found(guest: MetadataSpec) -> None:
    tree = meta_data(guest)

    def crawl(directory: Directory, path: tuple[str, ...]) -> None:
        listing = find(tree, path)
        assert listing is not None
        for line in listing.decode().split("\n") if listing else ():
            if path == ("public-keys",):
                number, _, _ = line.partition("=")
                assert find(tree, (*path, number, "openssh-key")) is not None
            elif line.endswith("/"):
                child = directory.entries[line[:-1]]
                assert isinstance(child, Directory)
                crawl(child, (*path, line[:-1]))
            elif path != ("tags", "instance"):  # whose keys may hold line ends here, as EC2 does not allow
                assert find(tree, (*path, line)) is not None

    crawl(tree, ())


def test_the_categories_are_those_of_ec2() -> None:
    listing = read(GUEST, "")
    assert listing is not None
    assert listing.split("\n") == [
        *("ami-id", "ami-launch-index", "ami-manifest-path", "block-device-mapping/", "events/", "hostname"),
        *("instance-action", "instance-id", "instance-life-cycle", "instance-type", "ipv6", "local-hostname"),
        *(
            "local-ipv4",
            "mac",
            "metrics/",
            "network/",
            "placement/",
            "profile",
            "public-hostname",
            "public-ipv4",
            "public-keys/",
        ),
        *("reservation-id", "security-groups", "services/", "system", "tags/"),
    ]


def test_contents() -> None:
    expected = {
        "instance-id": "i-1",
        "local-ipv4": "10.0.0.4",
        "ipv6": "2001:db8::4",
        "public-ipv4": "203.0.113.7",
        "security-groups": "default\nweb",
        "block-device-mapping": "ami\nroot",
        "block-device-mapping/root": "/dev/xvda",
        "placement/availability-zone-id": "use1-az1",
        "placement/region": "us-east-1",
        "public-keys": "0=mine",
        "public-keys/0": "openssh-key",
        "public-keys/0/openssh-key": "ssh-ed25519 AAAA mine",
        "services/domain": "amazonaws.com",
        "tags/instance": "Name\npurpose",
        "tags/instance/Name": "a=b",
        "network/interfaces/macs": "06:00:00:00:00:01/",
        "network/interfaces/macs/06:00:00:00:00:01/device-number": "0",
        "network/interfaces/macs/06:00:00:00:00:01/ipv4-associations": "203.0.113.7\n203.0.113.8",
        "network/interfaces/macs/06:00:00:00:00:01/ipv4-associations/203.0.113.7": "10.0.0.4",
        "network/interfaces/macs/06:00:00:00:00:01/ipv4-associations/203.0.113.8": "10.0.0.5",
        "network/interfaces/macs/06:00:00:00:00:01/ipv4-prefix": "10.0.0.16/28",
        "network/interfaces/macs/06:00:00:00:00:01/ipv6-prefix": "2001:db8:0:0:1::/80",
        "network/interfaces/macs/06:00:00:00:00:01/ipv6s": "2001:db8::4\n2001:db8::5",
        "network/interfaces/macs/06:00:00:00:00:01/public-ipv4s": "203.0.113.7\n203.0.113.8",
        "network/interfaces/macs/06:00:00:00:00:01/subnet-ipv6-cidr-blocks": "2001:db8::/64",
        "network/interfaces/macs/06:00:00:00:00:01/vpc-ipv6-cidr-blocks": "2001:db8::/56",
        "network/interfaces/macs/06:00:00:00:00:01/local-ipv4s": "10.0.0.4\n10.0.0.5",
        "network/interfaces/macs/06:00:00:00:00:01/security-group-ids": "sg-1\nsg-2",
        "network/interfaces/macs/06:00:00:00:00:01/vpc-ipv4-cidr-block": "10.0.0.0/16",
        "network/interfaces/macs/06:00:00:00:00:01/vpc-ipv4-cidr-blocks": "10.0.0.0/16\n10.1.0.0/16",
    }
    assert {path: read(GUEST, path) for path in expected} == expected


def test_what_there_is_not_is_neither_listed_nor_found() -> None:
    private = replace(
        INTERFACE,
        public_addresses=(),
        public_hostname=None,
        ipv6_addresses=(),
        subnet_ipv6_cidr=None,
        ipv4_prefixes=(),
    )
    guest = replace(GUEST, interfaces=(private,), public_keys=(), tags=None)
    listing = read(guest, "")
    assert listing is not None
    for name in ("public-ipv4", "public-hostname", "ipv6", "public-keys", "tags", "iam", "instance-id/x"):
        assert read(guest, name) is None
        assert name not in listing
    macs = "network/interfaces/macs/06:00:00:00:00:01"
    assert "public" not in (read(guest, macs) or "")
    for name in ("ipv4-associations", "public-ipv4s", "ipv6s", "ipv4-prefix", "subnet-ipv6-cidr-blocks"):
        assert read(guest, f"{macs}/{name}") is None
    assert read(replace(GUEST, tags=()), "tags/instance") == ""
