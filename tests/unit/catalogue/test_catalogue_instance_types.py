from decimal import Decimal

import botocore.session
import pytest
from botocore.model import ListShape, Shape, StructureShape

from pileus import catalogue
from pileus.catalogue.quotas import QUOTA_FAMILIES

SCALARS = {"string": str, "integer": int, "long": int, "double": (float, int), "float": (float, int), "boolean": bool}


def known(name: str) -> catalogue.InstanceType:
    found = catalogue.instance_type(name)
    assert found is not None
    return found


def assert_fits(shape: Shape, value: object, where: str) -> None:
    if isinstance(shape, StructureShape):
        assert isinstance(value, dict), where
        for member, inner in value.items():
            assert member in shape.members, f"{where}.{member}"
            assert_fits(shape.members[member], inner, f"{where}.{member}")
    elif isinstance(shape, ListShape):
        assert isinstance(value, list), where
        for inner in value:
            assert_fits(shape.member, inner, f"{where}[]")
    else:
        assert isinstance(value, SCALARS[shape.type_name]), where
        assert shape.type_name == "boolean" or not isinstance(value, bool), where


def test_every_description_has_botocores_output_shape() -> None:
    shape = botocore.session.get_session().get_service_model("ec2").shape_for("InstanceTypeInfo")
    for name in catalogue.instance_types():
        info = catalogue.describe(name)
        assert info["InstanceType"] == name
        assert_fits(shape, info, name)


def test_a_description_is_the_callers_own() -> None:
    catalogue.describe("t3.nano").clear()
    assert catalogue.describe("t3.nano")["InstanceType"] == "t3.nano"


def test_every_type_is_read_into_its_struct_and_agrees_with_its_description() -> None:
    for name in catalogue.instance_types():
        instance_type, info = known(name), catalogue.describe(name)
        assert (instance_type.name, instance_type.family) == (name, name.split(".")[0])
        assert instance_type.vcpus == info["VCpuInfo"]["DefaultVCpus"]
        assert instance_type.cpu.default_cores * instance_type.cpu.default_threads_per_core == instance_type.vcpus
        assert (instance_type.instance_storage is not None) is info["InstanceStorageSupported"]
        assert (instance_type.hypervisor is None) == instance_type.bare_metal
        assert instance_type.network.maximum_network_interfaces > 0


def test_what_everybody_knows() -> None:
    m5 = known("m5.large")
    assert (m5.vcpus, m5.memory_mib, m5.architectures, m5.hypervisor) == (2, 8192, ("x86_64",), "nitro")
    assert (m5.network.maximum_network_interfaces, m5.network.ipv4_addresses_per_interface) == (3, 10)
    assert m5.instance_storage is None
    assert not m5.burstable

    nano = known("t3.nano")
    assert (nano.vcpus, nano.memory_mib, nano.burstable, nano.cpu.valid_threads_per_core) == (2, 512, True, (1, 2))
    assert nano.ebs.limits is not None
    assert nano.ebs.limits.maximum_bandwidth_mbps == 2085
    assert known("t4g.nano").architectures == ("arm64",)
    assert known("t3.micro").free_tier_eligible

    storage = known("m5d.large").instance_storage
    assert storage is not None
    assert [(disk.count, disk.size_gb, disk.type) for disk in storage.disks] == [(1, 75, "ssd")]
    assert "instance-store" in known("m3.medium").supported_root_device_types
    assert known("m5.metal").bare_metal


def test_a_gpu_type_that_aws_has_retired_is_still_here() -> None:
    p2 = known("p2.xlarge")
    assert [(gpu.count, gpu.manufacturer, gpu.name, gpu.memory.size_mib) for gpu in p2.gpus] == [
        (1, "NVIDIA", "K80", 12288)
    ]
    assert (p2.vcpus, p2.memory_mib) == (4, 62464)
    assert known("p3.16xlarge").gpus[0].count == 8
    assert known("g6f.large").gpus[0].gpu_partition_size == 0.125


def test_the_types_with_half_a_gibibyte_or_less() -> None:
    small = [name for name in catalogue.instance_types() if known(name).memory_mib <= 512]
    assert small == ["t2.nano", "t3.nano", "t3a.nano", "t4g.nano", "t8i.nano"]


def test_the_names_are_sorted_and_an_unknown_one_is_nothing() -> None:
    names = catalogue.instance_types()
    assert list(names) == sorted(set(names))
    assert catalogue.instance_type("t3.pico") is None
    with pytest.raises(KeyError):
        catalogue.describe("t3.pico")


@pytest.mark.parametrize(
    ("location", "name", "dollars"),
    [
        ("us-east-1", "m5.large", "0.096"),
        ("us-east-1", "t3.nano", "0.0052"),
        ("us-east-2", "p2.xlarge", "0.9"),
        ("us-west-2-lax-1", "t3.nano", "0.0062"),
    ],
)
def test_prices_are_exact(location: str, name: str, dollars: str) -> None:
    assert catalogue.price(location, name) == Decimal(dollars)


def test_an_unknown_price_is_not_zero() -> None:
    assert catalogue.price("us-east-1", "p2.xlarge") is None  # 0.0 in the source
    assert catalogue.price("us-east-1", "t3.pico") is None
    assert catalogue.price("home-1", "t3.nano") is None
    prices = [catalogue.price("us-east-1", name) for name in catalogue.instance_types()]
    assert all(dollars > 0 for dollars in prices if dollars is not None)
    assert sum(dollars is not None for dollars in prices) > 600


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("m5.large", "standard"),
        ("t4g.nano", "standard"),
        ("im4gn.large", "standard"),
        ("p2.xlarge", "p"),
        ("p6-b200.48xlarge", "p"),
        ("g4dn.xlarge", "g-vt"),
        ("gr6.4xlarge", "g-vt"),
        ("vt1.3xlarge", "g-vt"),
        ("f2.6xlarge", "f"),
        ("x1e.xlarge", "x"),
        ("inf2.xlarge", "inf"),
        ("trn1n.32xlarge", "trn"),
        ("dl2q.24xlarge", "dl"),
        ("hpc7a.96xlarge", "hpc"),
        ("u7i-12tb.224xlarge", "high-memory"),
        ("mac2.metal", None),
    ],
)
def test_quota_families(name: str, family: str | None) -> None:
    assert catalogue.instance_type(name) is not None
    assert catalogue.quota_family(name) == family


def test_every_type_but_mac_counts_against_a_quota() -> None:
    without = {known(name).family for name in catalogue.instance_types() if catalogue.quota_family(name) is None}
    assert without
    assert all(family.startswith("mac") for family in without)
    assert len({family.code for family in QUOTA_FAMILIES.values()}) == len(QUOTA_FAMILIES)
