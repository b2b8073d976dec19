"""RunInstances: everything is checked, then everything is written in one transaction; the hosts do the rest."""

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.catalogue import InstanceType, instance_type
from pileus.operations.context import Context, NoCapacity
from pileus.operations.tags import tags_for
from pileus.records import Image, Instance, KeyPair, Vpc
from pileus.records.instance import MetadataOptions
from pileus.services.ec2.errors import (
    InsufficientInstanceCapacity,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
    Unsupported,
)
from pileus.services.ec2.images.listing import launchable_image, note_launch
from pileus.services.ec2.instances.devices import Devices, create_volumes, plan_devices
from pileus.services.ec2.instances.interfaces import NO_ADDRESS, create_interfaces, discard_interfaces
from pileus.services.ec2.instances.listing import draw_reservation
from pileus.services.ec2.instances.metadata_options import metadata_options
from pileus.services.ec2.instances.networking import Nic, plan_nics
from pileus.services.ec2.instances.store_disks import with_store
from pileus.services.ec2.key_pairs import key_named
from pileus.services.ec2.service import ec2
from pileus.services.ssm import resolve_parameter

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import RunInstancesRequestTypeDef

MAX_USER_DATA = 16384
DEFAULT_TYPE = "m1.small"
_SSM_PREFIX = "resolve:ssm:"

_NOT_YET = (
    "KernelId",
    "RamdiskId",
    "ElasticGpuSpecification",
    "ElasticInferenceAccelerators",
    "InstanceMarketOptions",
    "LicenseSpecifications",
    "NetworkPerformanceOptions",
)
"""What a launch can't have here yet: refused by name, never ignored."""


_CHOICES = (
    ("CreditSpecification", "CpuCredits", ("standard", "unlimited")),
    ("MaintenanceOptions", "AutoRecovery", ("default", "disabled")),
    ("PrivateDnsNameOptions", "HostnameType", ("ip-name", "resource-name")),
)
"""Members of parameters that have few values."""


class InvalidUserData(ServiceError):
    """User data that is not base64."""

    code = "InvalidUserData.Malformed"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A launch after all checks: what each of its instances gets."""

    least: int
    most: int
    image: Image
    type: InstanceType
    key: KeyPair | None
    nics: tuple[Nic, ...]
    devices: Devices
    metadata: MetadataOptions


@ec2.writes(
    "RunInstances",
    resources=(
        "image:ImageId",
        "instance:*",
        "key-pair:KeyName",
        "network-interface:*",
        "security-group:SecurityGroupIds",
        "subnet:SubnetId",
        "volume:*",
    ),
    idempotent=True,
    taggable=("instance", "volume", "network-interface"),
)
def run_instances(context: Context, params: "RunInstancesRequestTypeDef") -> dict[str, Any]:
    """Launches instances: as many as there is room for, at least MinCount, or none."""
    plan = _plan(context, params)
    reservation = new_id("r")
    launched: list[Instance] = []
    for index in range(plan.most):
        try:
            launched.append(_launch(context, params, plan, reservation, index))
        except (NoCapacity, *NO_ADDRESS) as error:
            if index >= plan.least:
                break
            if not isinstance(error, NoCapacity):
                raise
            raise InsufficientInstanceCapacity(
                f"We currently do not have sufficient {plan.type.name} capacity in the Availability Zone you requested "
                f"({plan.nics[0].subnet.zone})."
            ) from error
    note_launch(context, plan.image.id)
    return draw_reservation(context, launched)


def _plan(context: Context, params: Mapping[str, Any]) -> Plan:
    _refuse_what_is_not_there(params)
    _check_choices(params)
    least, most = _counts(params)
    image = _image(context, params)
    type_ = _type(params, image)
    zones = context.env.placement.zones(context.view, type_.name, context.region)
    nics = plan_nics(context, params, type_, zones)
    if most > 1 and any(nic.wanted.named for nic in nics):
        raise InvalidParameterCombination("A private IP address can be given to one instance only (privateIpAddress).")
    _refuse_dedicated(context, nics[0])
    key_name = params.get("KeyName")
    return Plan(
        least=least,
        most=most,
        image=image,
        type=type_,
        key=key_named(context, key_name) if key_name else None,
        nics=nics,
        devices=plan_devices(context, image, type_, params.get("BlockDeviceMappings", ()), len(nics)),
        metadata=metadata_options(params.get("MetadataOptions", {})),
    )


def _refuse_what_is_not_there(params: Mapping[str, Any]) -> None:
    for name in _NOT_YET:
        if params.get(name):
            raise Unsupported(f"The parameter {name} is not available in this cloud yet.")
    if params.get("LaunchTemplate"):
        raise NotFound(
            "At least one of the launch templates specified in the request does not exist.",
            code="InvalidLaunchTemplateId.NotFound",
        )
    profile: Mapping[str, str] = params.get("IamInstanceProfile", {})
    # Packer always gives a name, if only an empty one.
    if named := profile.get("Name") or profile.get("Arn"):
        raise InvalidParameterValue(
            f"Value ({named}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
        )
    for name, member in (("HibernationOptions", "Configured"), ("EnclaveOptions", "Enabled")):
        if params.get(name, {}).get(member):
            raise Unsupported(f"The parameter {name}.{member} is not available in this cloud yet.")
    reservation: Mapping[str, Any] = params.get("CapacityReservationSpecification", {})
    if target := reservation.get("CapacityReservationTarget"):
        named = ", ".join(target.values())
        raise NotFound(
            f"The capacity reservation '{named}' does not exist.", code="InvalidCapacityReservationId.NotFound"
        )
    _refuse_placement(params.get("Placement", {}))


def _refuse_placement(placement: Mapping[str, Any]) -> None:
    if placement.get("GroupName") or placement.get("GroupId"):
        raise NotFound(
            f"The Placement Group '{placement.get('GroupName') or placement.get('GroupId')}' is unknown.",
            code="InvalidPlacementGroup.Unknown",
        )
    if placement.get("HostId"):
        raise NotFound(f"The Dedicated host ID '{placement['HostId']}' does not exist.", code="InvalidHostID.NotFound")
    if placement.get("Tenancy", "default") != "default":
        raise Unsupported("The parameter Placement.Tenancy is not available in this cloud yet.")
    for name in ("Affinity", "HostResourceGroupArn", "PartitionNumber", "SpreadDomain"):
        if placement.get(name):
            raise Unsupported(f"The parameter Placement.{name} is not available in this cloud yet.")


def _refuse_dedicated(context: Context, nic: Nic) -> None:
    vpc = context.view.get(Vpc, nic.subnet.vpc_id)
    if vpc is not None and vpc.tenancy != "default":
        raise Unsupported(
            f"Instances with the tenancy '{vpc.tenancy}' of {vpc.id} are not available in this cloud yet."
        )


def _check_choices(params: Mapping[str, Any]) -> None:
    for parameter, member, allowed in _CHOICES:
        value = params.get(parameter, {}).get(member)
        if value is not None and value not in allowed:
            raise InvalidParameterValue(
                f"Value ({value}) for parameter {parameter}.{member} is invalid. "
                f"Expecting {' or '.join(map(repr, allowed))}."
            )


def _counts(params: Mapping[str, Any]) -> tuple[int, int]:
    least, most = params["MinCount"], params["MaxCount"]
    if least < 1:
        raise InvalidParameterValue(
            f"Value ({least}) for parameter minCount is invalid. Expecting a value of at least 1."
        )
    if most < least:
        raise InvalidParameterValue(
            f"Value ({most}) for parameter maxCount is invalid. It must not be less than minCount ({least})."
        )
    return least, most


def _image(context: Context, params: Mapping[str, Any]) -> Image:
    named = params.get("ImageId")
    if not named:
        raise MissingParameter("ImageId")
    if named.startswith(_SSM_PREFIX):
        named = resolve_parameter(context, named.removeprefix(_SSM_PREFIX))
    return launchable_image(context, named)


def _type(params: Mapping[str, Any], image: Image) -> InstanceType:
    name = params.get("InstanceType", DEFAULT_TYPE)
    type_ = instance_type(name)
    if type_ is None:
        raise InvalidParameterValue(f"Invalid value '{name}' for InstanceType.")
    if image.architecture not in type_.architectures:
        raise InvalidParameterValue(
            f"The architecture '{','.join(type_.architectures)}' of the specified instance type does not match the "
            f"architecture '{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have "
            "matching architectures, and try again."
        )
    if type_.memory_mib < image.min_memory:
        raise Unsupported(
            f"The image {image.id} needs {image.min_memory} MiB of memory; {name} has {type_.memory_mib}."
        )
    _check_cpu_options(params.get("CpuOptions", {}), type_)
    if params.get("InstanceInitiatedShutdownBehavior", "stop") not in {"stop", "terminate"}:
        raise InvalidParameterValue(
            f"Value ({params['InstanceInitiatedShutdownBehavior']}) for parameter instanceInitiatedShutdownBehavior is "
            "invalid. Expecting 'stop' or 'terminate'."
        )
    return type_


def _check_cpu_options(options: Mapping[str, Any], type_: InstanceType) -> None:
    cores, threads = options.get("CoreCount"), options.get("ThreadsPerCore")
    cpu = type_.cpu
    if cores is not None and cores not in (cpu.valid_cores or (cpu.default_cores,)):
        raise InvalidParameterValue(f"Value ({cores}) for parameter CpuOptions.CoreCount is invalid for {type_.name}.")
    if threads is not None and threads not in (cpu.valid_threads_per_core or (cpu.default_threads_per_core,)):
        raise InvalidParameterValue(
            f"Value ({threads}) for parameter CpuOptions.ThreadsPerCore is invalid for {type_.name}."
        )


def decode_user_data(text: str | None) -> str | None:
    """User data in canonical base64; None where it is empty.

    Raises:
        InvalidUserData: it is not base64. InvalidParameterValue: it is over 16 KiB.
    """
    if not text:
        return None
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidUserData("Invalid BASE64 encoding of user data.") from error
    if len(raw) > MAX_USER_DATA:
        raise InvalidParameterValue(f"User data is limited to {MAX_USER_DATA} bytes")
    return base64.b64encode(raw).decode()


def _launch(context: Context, params: Mapping[str, Any], plan: Plan, reservation: str, index: int) -> Instance:
    """Writes one instance with its interfaces and volumes, placed on a host."""
    subnet = plan.nics[0].subnet
    options: Mapping[str, Any] = params.get("CpuOptions", {})
    names: Mapping[str, Any] = params.get("PrivateDnsNameOptions", {})
    instance = Instance(
        id=new_id("i"),
        account=context.account,
        region=context.region,
        tags=tags_for(params, "instance"),
        reservation_id=reservation,
        launch_index=index,
        image_id=plan.image.id,
        image_content=plan.image.boots_with,
        image_user=plan.image.user,
        instance_type=plan.type.name,
        vpc_id=subnet.vpc_id,
        subnet_id=subnet.id,
        zone=subnet.zone,
        zone_id=subnet.zone_id,
        launched=context.now,
        architecture=plan.image.architecture,
        root_device_name=plan.image.root_device_name,
        boot_mode=plan.image.boot_mode,
        key_name=plan.key.name if plan.key else None,
        public_key=plan.key.public_key if plan.key else None,
        user_data=decode_user_data(params.get("UserData")),
        client_token=params.get("ClientToken"),
        metadata=plan.metadata,
        shutdown_behavior=params.get("InstanceInitiatedShutdownBehavior", "stop"),
        disable_api_termination=params.get("DisableApiTermination", False),
        disable_api_stop=params.get("DisableApiStop", False),
        ebs_optimized=params.get("EbsOptimized", False),
        monitoring=params.get("Monitoring", {}).get("Enabled", False),
        cpu_credits=params.get("CreditSpecification", {}).get("CpuCredits"),
        auto_recovery=params.get("MaintenanceOptions", {}).get("AutoRecovery", "default"),
        hostname_type=names.get("HostnameType", subnet.hostname_type),
        resource_name_dns_a=names.get("EnableResourceNameDnsARecord", subnet.resource_name_dns_a),
        resource_name_dns_aaaa=names.get("EnableResourceNameDnsAAAARecord", subnet.resource_name_dns_aaaa),
        core_count=options.get("CoreCount"),
        threads_per_core=options.get("ThreadsPerCore"),
        store_names=plan.devices.store_names,
    )
    instance = with_store(instance, plan.type, context.env.config)
    interfaces = create_interfaces(context, plan.nics, instance, tags_for(params, "network-interface"))
    try:
        placed = context.env.placement.place(context.tx, instance)
    except NoCapacity:
        discard_interfaces(context, plan.nics, interfaces)
        raise
    devices = create_volumes(context, plan.devices.volumes, placed, tags_for(params, "volume"))
    return context.tx.put(replace(placed, block_devices=devices))
