"""The services over a real store, called directly: no wire, no signatures, no hosts. For tests of single operations."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from msgspec.structs import replace

from pileus.aws.protocol import Fragment, load_service
from pileus.base.config import Config
from pileus.base.errors import ServiceError
from pileus.base.ids import new_id, new_request_id
from pileus.base.sealing import Sealer
from pileus.controllers import volumes
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.store import LocalBlocks
from pileus.engines.objects.interface import Objects
from pileus.engines.objects.store import ObjectStore
from pileus.operations.call import Call, Identity, Reply
from pileus.operations.context import ConsoleUnavailable, Environment, NoCapacity, no_objects
from pileus.operations.dispatch import Dispatcher
from pileus.operations.lazy_objects import LazyObjects
from pileus.records import KINDS, Account, Image, Instance
from pileus.records.instance import Observed, State, check_transition
from pileus.services.ec2.cloud_prefix_lists import ensure_prefix_lists
from pileus.services.ec2.defaults import create_default_vpc
from pileus.services.registry import SERVICES
from pileus.store import Store, Transaction, View, open_store
from pileus.testing.clock import ManualClock

HOST = "host-1"


class OneHost:
    """A ``Placement`` with one host in every zone. ``room`` is how many instances still fit."""

    def __init__(self, zones: Sequence[str], room: int = 1000) -> None:
        self._zones = zones
        self.room = room

    def place(self, tx: Transaction, instance: Instance) -> Instance:
        if self.room == 0:
            raise NoCapacity
        self.room -= 1
        return replace(instance, host_id=HOST)

    def release(self, tx: Transaction, instance: Instance) -> Instance:
        self.room += 1
        return replace(instance, host_id=None)

    def zones(self, view: View, instance_type: str, region: str) -> Sequence[str]:
        return [zone for zone in self._zones if zone.startswith(region)]


class Lines:
    """A ``Consoles`` whose guests have said what a test put into ``said``, by instance id."""

    def __init__(self) -> None:
        self.said: dict[str, bytes] = {}

    async def read(self, host_id: str, instance_id: str, what: Literal["output", "screenshot"]) -> bytes:
        if instance_id not in self.said:
            raise ConsoleUnavailable(f"no {what}")
        return self.said[instance_id]


class DirectCloud:
    """One account's view of a cloud in one region. Views of others come from ``of`` and ``within``.

    Every answer is also serialised by the service's protocol, so a member that the model does not have fails the test.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        clock: ManualClock,
        placement: OneHost,
        consoles: Lines,
        blocks: LocalBlocks | None = None,
        objects: Callable[[], Objects] = no_objects,
    ) -> None:
        self.store = store
        self.config = config
        self.clock = clock
        self.placement = placement
        self.consoles = consoles
        self.blocks = blocks or memory_blocks(lambda: clock.now().timestamp())
        self.objects = objects
        self.account = config.account
        self.region = config.default_region
        self._dispatcher = Dispatcher(
            SERVICES,
            store,
            Environment(
                config=config,
                clock=clock,
                sealer=Sealer(bytes(32)),
                placement=placement,
                consoles=consoles,
                blocks=self.blocks,
                objects=self.objects,
            ),
            patience=0,
        )

    @classmethod
    def open(cls, directory: Path, config: Config | None = None) -> Self:
        """A cloud of its own in an empty directory, with the configuration's account and its default VPCs."""
        config = config or Config()
        clock = ManualClock()
        zones = [region.name + letter for region in config.regions for letter in region.zones]
        store = open_store(f"sqlite:///{directory / 'store.db'}", KINDS, clock, durable=False)
        objects = LazyObjects(lambda: ObjectStore(directory / "objects", clock, None))
        cloud = cls(store, config, clock, OneHost(zones), Lines(), objects=objects)
        store.transact(lambda tx: ensure_prefix_lists(tx, config))
        cloud.add_account(config.account)
        return cloud

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def add_account(self, account: str) -> None:
        """Makes an account with a default VPC in every region."""

        def make(tx: Transaction) -> None:
            tx.put(Account(id=account, account=account, region="", name=account, created=self.clock.now()))
            for region in self.config.regions:
                create_default_vpc(tx, account, region.name, [region.name + letter for letter in region.zones])

        self.store.transact(make)

    def of(self, account: str) -> Self:
        """The same cloud as another account sees it, which is made when it is not there."""
        if self.store.view().get(Account, account) is None:
            self.add_account(account)
        return self._seen(account, self.region)

    def within(self, region: str) -> Self:
        """The same cloud in another of its regions."""
        return self._seen(self.account, region)

    def _seen(self, account: str, region: str) -> Self:
        seen = type(self)(self.store, self.config, self.clock, self.placement, self.consoles, self.blocks, self.objects)
        seen.account, seen.region = account, region
        return seen

    def add_image(self, **fields: Any) -> Image:
        """Registers an image: a small public one of this account unless ``fields`` say otherwise."""
        image = Image(
            id=new_id("ami"),
            account=self.account,
            region=self.region,
            name="tiny-amd64-20261123-0a1b2c3d",
            description="A small image",
            created=self.clock.now(),
            content="0a1b2c3d",
            family="tiny",
            snapshot_id=new_id("snap"),
            size=1,
            user="root",
            public=True,
            owner_alias="amazon",
            ssm_path="/aws/service/pileus/tiny/latest/amd64",
        )
        image = replace(image, **fields)
        return self.store.transact(lambda tx: tx.put(image))

    def enter(self, instance_id: str, state: State) -> Instance:
        """Plays host and controller: brings an instance into a state that its present one may lead to."""

        def change(tx: Transaction) -> Instance:
            instance = tx.get(Instance, instance_id)
            assert instance is not None, f"there is no instance {instance_id}"
            check_transition(instance.state, state)
            phase = "running" if state is State.RUNNING else "off"
            held = tuple(device.volume_id for device in instance.block_devices) if state is State.RUNNING else ()
            now = self.clock.now()
            seen = Observed(
                boot=instance.boot, reset=instance.reset, phase=phase, since=now, volumes=held, wiring=instance.wiring
            )
            entered = tx.put(replace(instance, state=state, observed=seen))
            volumes.settle_of(tx, instance_id, now)
            return tx.get(Instance, instance_id) or entered

        return self.store.transact(change)

    async def call(self, service: str, operation: str, /, **params: Any) -> dict[str, Any]:
        """Performs an operation and returns its result as a client would see it: without what is None.

        Raises ServiceError.
        """
        now = self.clock.now()
        arn = f"arn:aws:iam::{self.account}:root"
        result = await self._dispatcher(
            Call(
                service=service,
                operation=operation,
                region=self.region,
                params=params,
                identity=Identity(account=self.account, arn=arn, user_id=self.account, access_key="AKIATEST"),
                request_id=new_request_id(),
                now=now.replace(microsecond=now.microsecond // 1000 * 1000),
            )
        )
        if isinstance(result, Reply):
            result = result.result
        load_service(service).operation(operation).serialise(result, new_request_id())
        return _plain(result)

    async def refusal(self, service: str, operation: str, /, **params: Any) -> ServiceError:
        """The error that an operation gives. Raises AssertionError when it gives none."""
        try:
            await self.call(service, operation, **params)
        except ServiceError as error:
            return error
        raise AssertionError(f"{operation} was not refused")


def _plain(value: Any) -> Any:
    """A result with its fragments built and its None members left out."""
    if isinstance(value, Fragment):
        return _plain(value.build())
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items() if member is not None}  # pyright: ignore[reportUnknownVariableType] - any result
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType] - any result
    return value
