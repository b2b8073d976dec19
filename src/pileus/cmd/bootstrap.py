"""What a new cloud begins with: the first account with its root access key and default VPCs, and the machine images.

Run by the controllers at every start, before they listen; whatever is there already stays as it is.
"""

import secrets
import string
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec.structs import replace

from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.cmd.keyring import seal_context
from pileus.cmd.layout import Credentials
from pileus.drivers.image.interface import ImageManifest
from pileus.records import AccessKey, Account, DhcpOptions, Image, Snapshot, Vpc
from pileus.records.snapshot import NO_VOLUME
from pileus.services.ec2.cloud_prefix_lists import ensure_prefix_lists
from pileus.services.ec2.defaults import create_default_vpc, default_options
from pileus.store import Store, Transaction

IMAGE_OWNER = "000000000000"
"""The account that the built-in images belong to; it has no keys."""

_ALPHABET = string.ascii_uppercase + "234567"
_SECRET_ALPHABET = string.ascii_letters + string.digits + "+/"
_GIB = 1 << 30
_HAD_VPC = "had-default-vpc"
"""The claim scope of accounts and regions in which they have got a default VPC."""


def ensure_account(store: Store, sealer: Sealer, config: Config, credentials: Path, now: datetime) -> None:
    """Makes the cloud's own prefix lists, and once the first account. Its key is in the file before it is in the store: a
    crash between loses nothing.
    """
    store.transact(lambda tx: ensure_prefix_lists(tx, config))
    if store.view().get(Account, config.account) is not None:
        store.transact(lambda tx: _ensure_vpcs(tx, config))
        return
    kept = _kept_credentials(credentials, config.account)

    def create(tx: Transaction) -> None:
        tx.put(Account(id=config.account, account=config.account, region="", name="root", created=now))
        tx.put(
            AccessKey(
                id=kept.access_key,
                account=config.account,
                region="",
                secret=sealer.seal(kept.secret_key.encode(), seal_context(kept.access_key)),
                arn=f"arn:aws:iam::{config.account}:root",
                user_id=config.account,
                created=now,
            )
        )
        _ensure_vpcs(tx, config)

    store.transact(create)


def _kept_credentials(path: Path, account: str) -> Credentials:
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Credentials)
    fresh = Credentials(
        account=account,
        access_key="AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16)),
        secret_key="".join(secrets.choice(_SECRET_ALPHABET) for _ in range(40)),
    )
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(msgspec.json.encode(fresh))
    new.replace(path)
    return fresh


def _ensure_vpcs(tx: Transaction, config: Config) -> None:
    """A default VPC in each configured region that the account has never had one in; DHCP options that VPCs name."""
    for region in config.regions:
        place = f"{config.account}/{region.name}"
        if tx.owner_of(_HAD_VPC, place) is not None:
            continue  # perhaps it has been deleted since
        if not any(vpc.is_default for vpc in tx.list(Vpc, account=config.account, region=region.name)):
            zones = [f"{region.name}{letter}" for letter in region.zones]
            create_default_vpc(tx, config.account, region.name, zones)
        tx.claim(_HAD_VPC, place, config.account)
    for vpc in tx.list(Vpc):
        # Earlier versions named a set of DHCP options without making it.
        if vpc.dhcp_options_id != "default" and tx.get(DhcpOptions, vpc.dhcp_options_id) is None:
            tx.put(default_options(vpc.dhcp_options_id, vpc.account, vpc.region))


def ensure_images(store: Store, config: Config, manifests: Iterable[ImageManifest]) -> None:
    """Registers machine images as public AMIs, with snapshots, in every region. A family's newest has its SSM parameter."""
    known = list(manifests)

    def register(tx: Transaction) -> None:
        for region in config.regions:
            for manifest in known:
                image = image_record(manifest, region.name)
                if tx.get(Snapshot, image.snapshot_id) is None:
                    tx.put(snapshot_record(manifest, image))
                before = tx.get(Image, image.id)
                if before is None:
                    tx.put(image)
                elif before.ssm_path != image.ssm_path:
                    tx.put(replace(before, ssm_path=image.ssm_path))

    store.transact(register)


def image_record(manifest: ImageManifest, region: str) -> Image:
    """A manifest as an AMI. Its ids follow from its content, so they are the same wherever it is built."""
    digest = sha256(f"{region}/{manifest.content}".encode()).hexdigest()
    return Image(
        id=f"ami-0{digest[:16]}",
        account=IMAGE_OWNER,
        region=region,
        name=manifest.name,
        description=manifest.description,
        created=datetime.fromisoformat(manifest.created),
        content=manifest.content,
        boot_content=manifest.content,
        family=manifest.family,
        snapshot_id=f"snap-0{digest[16:32]}",
        size=max(1, -(-manifest.virtual_size // _GIB)),
        user=manifest.user,
        architecture=manifest.architecture,
        root_device_name=manifest.root_device,
        boot_mode=manifest.boot_mode,
        public=True,
        owner_alias="amazon",
        ssm_path=manifest.ssm_path,
        min_memory=manifest.min_memory,
    )


def snapshot_record(manifest: ImageManifest, image: Image) -> Snapshot:
    """The snapshot behind a built-in image: everybody may make volumes of it, and copy it."""
    return Snapshot(
        id=image.snapshot_id,
        account=image.account,
        region=image.region,
        volume_id=NO_VOLUME,
        size=image.size,
        started=image.created,
        taken=image.created,
        completed=image.created,
        state="completed",
        progress=100,
        description=f"Created for {image.id}",
        content=manifest.content,
        boot_content=manifest.content,
        full_bytes=manifest.virtual_size,
        owner_alias=image.owner_alias,
        public=True,
    )
