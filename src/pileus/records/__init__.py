"""What the cloud remembers: one file per resource with its struct, its public state, the table of legal transitions and
the pure ``decide()``. No I/O here: functions from values to values. Read by services, scheduler, metering, controllers.
"""

from pileus.base.record import Record
from pileus.records.account import AccessKey, Account
from pileus.records.address import Address
from pileus.records.console import ConsoleLog
from pileus.records.data_key import DataKey
from pileus.records.dhcp_options import DhcpOptions
from pileus.records.disk_task import DiskTask
from pileus.records.ebs_encryption import EbsEncryption
from pileus.records.flow_log import FlowBatch, FlowLog
from pileus.records.gateways import CarrierGateway, EgressOnlyGateway, InternetGateway
from pileus.records.host import Host
from pileus.records.idempotency import IdempotentCall
from pileus.records.image import Image
from pileus.records.insights import InsightsAnalysis, InsightsPath
from pileus.records.instance import Instance
from pileus.records.key_pair import KeyPair
from pileus.records.kms_alias import KmsAlias
from pileus.records.kms_grant import KmsGrant
from pileus.records.kms_key import KmsKey
from pileus.records.nat_gateway import NatGateway
from pileus.records.network_acl import NetworkAcl
from pileus.records.network_interface import NetworkInterface
from pileus.records.peering import Peering
from pileus.records.prefix_list import PrefixList
from pileus.records.retention_rule import RetentionRule
from pileus.records.route_table import RouteTable
from pileus.records.security_group import SecurityGroup
from pileus.records.sharing import Sharing
from pileus.records.snapshot import Snapshot
from pileus.records.subnet import Subnet, SubnetReservation
from pileus.records.volume import Volume
from pileus.records.vpc import Vpc
from pileus.records.vpc_endpoint import VpcEndpoint
from pileus.records.zone_group import ZoneGroupOptIn

KINDS: tuple[type[Record], ...] = (
    AccessKey,
    Account,
    Address,
    CarrierGateway,
    ConsoleLog,
    DataKey,
    DhcpOptions,
    DiskTask,
    EbsEncryption,
    EgressOnlyGateway,
    FlowBatch,
    FlowLog,
    Host,
    IdempotentCall,
    Image,
    InsightsAnalysis,
    InsightsPath,
    Instance,
    InternetGateway,
    KeyPair,
    KmsAlias,
    KmsGrant,
    KmsKey,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    Peering,
    PrefixList,
    RetentionRule,
    RouteTable,
    SecurityGroup,
    Sharing,
    Snapshot,
    Subnet,
    SubnetReservation,
    Volume,
    Vpc,
    VpcEndpoint,
    ZoneGroupOptIn,
)
