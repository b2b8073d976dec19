"""The prefix lists that are the cloud's own: the addresses of its services, for routes and rules to name."""

from hashlib import sha256

from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig, s3_address
from pileus.records import PrefixList
from pileus.records.prefix_list import CLOUD, PrefixEntry
from pileus.store import Transaction


def s3_prefix_list_id(region: str) -> str:
    """The id of the list of S3's addresses in a region: the same for ever."""
    return f"pl-{sha256(f'{region}/s3'.encode()).hexdigest()[:8]}"


def ensure_prefix_lists(tx: Transaction, config: Config) -> None:
    """Makes the lists of all regions what the configuration says. Called at every start of the controllers."""
    for region in config.regions:
        wanted = _s3(region)
        found = tx.get(PrefixList, wanted.id)
        if found is None:
            tx.put(wanted)
        elif found.entries != wanted.entries:
            tx.put(replace(found, entries=wanted.entries))


def _s3(region: RegionConfig) -> PrefixList:
    return PrefixList(
        id=s3_prefix_list_id(region.name),
        account=CLOUD,
        region=region.name,
        name=f"com.amazonaws.{region.name}.s3",
        address_family="IPv4",
        max_entries=1,
        entries=(PrefixEntry(cidr=f"{s3_address(region)}/32"),),
    )
