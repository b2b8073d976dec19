"""Requests of all kinds to the whole control plane in one process, by an owner who would like to see another's things."""

import asyncio
import base64

import msgspec
import pytest
from botocore.awsrequest import HeadersDict
from model_requests import Requests, model_of, signed, understood

from pileus.base.clock import SystemClock
from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.cmd.bootstrap import ensure_account, ensure_images
from pileus.cmd.keyring import StoreKeyring
from pileus.cmd.layout import Credentials
from pileus.controllers import instances
from pileus.drivers.image.fake import FakeImages
from pileus.engines.objects.store import ObjectStore
from pileus.gateway.app import Gateway
from pileus.hostapi.observation import GuestObservation
from pileus.operations.context import Environment
from pileus.operations.dispatch import Dispatcher
from pileus.records import (
    KINDS,
    Address,
    Host,
    Image,
    Instance,
    KeyPair,
    NetworkInterface,
    SecurityGroup,
    Subnet,
    Volume,
    Vpc,
)
from pileus.scheduler import Scheduler
from pileus.services.registry import SERVICES
from pileus.store import open_store
from pileus.testing.consistency import problems
from pileus.testing.in_process import Lines

VICTIM, INTRUDER = "444455556666", "000000000002"
SECRET = "xyzzy-of-the-victim"
CAPACITY = {"InsufficientInstanceCapacity", "InsufficientAddressCapacity", "NotImplemented"}
"""What EC2 itself answers with a status of 500 and above."""

DECLARED = [
    (service.name, name)
    for service in SERVICES
    # Requests that are paths and headers are not made by ``Requests``. See test_s3_fuzz.py.
    if not model_of(service.name).protocol.startswith("rest-")
    for name in sorted(service.operations)
]
KNOWN = [(service, name) for service in ("ec2", "sts", "ssm", "iam") for name in model_of(service).operation_names]


class Answer:
    """What came back over ASGI."""

    def __init__(self, start, *pieces):
        self.status = start["status"]
        self.headers = HeadersDict({name.decode(): value.decode() for name, value in start["headers"]})
        self.body = b"".join(piece["body"] for piece in pieces)


class Clouds:
    """One store with two accounts, and its gateway."""

    def __init__(self, directory):
        self.config = Config(account=VICTIM)
        self.directory = directory
        self.stores = {}
        self.clock = SystemClock()
        self.store = open_store(f"sqlite:///{directory}/store", KINDS, self.clock, durable=False)
        sealer = Sealer(bytes(32))
        for account in (VICTIM, INTRUDER):
            config = Config(account=account)
            ensure_account(self.store, sealer, config, directory / account, self.clock.now())
        self.keys = {account: self._keys(directory / account) for account in (VICTIM, INTRUDER)}
        ensure_images(self.store, self.config, asyncio.run(FakeImages().observe()))
        self.store.transact(lambda tx: tx.put(Host(id="h", account="", region="", vcpus=4096, memory=1 << 24)))
        env = Environment(
            config=self.config,
            clock=self.clock,
            sealer=sealer,
            placement=Scheduler(self.config),
            consoles=Lines(),
            objects=self._objects,
        )
        dispatcher = Dispatcher(SERVICES, self.store, env, patience=0)
        self.gateway = Gateway(
            keyring=StoreKeyring(self.store, sealer),
            dispatch=dispatcher,
            streams=dispatcher.streams,
            public=dispatcher.public,
            regions=[region.name for region in self.config.regions],
            default_region=self.config.default_region,
            clock=self.clock,
        )

    def _objects(self):
        """An object store for each test's event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self.stores:
            self.stores[loop] = ObjectStore(self.directory / "objects", self.clock, None)
        return self.stores[loop]

    def _keys(self, path):
        kept = msgspec.json.decode(path.read_bytes(), type=Credentials)
        return kept.access_key, kept.secret_key

    async def ask(self, method, path, query, headers, body):
        incoming = [{"type": "http.request", "body": body, "more_body": False}]
        sent = []

        async def receive():
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), str(value).encode()) for name, value in headers.items()],
            "client": ("192.0.2.7", 40000),
        }
        await self.gateway(scope, receive, send)
        return Answer(*sent)

    def of_victim(self):
        """All records of the victim."""
        view = self.store.view()
        return [one for kind in KINDS for one in view.list(kind, account=VICTIM)]


@pytest.fixture(scope="module")
def clouds(tmp_path_factory):
    clouds = Clouds(tmp_path_factory.mktemp("fuzz"))
    asyncio.run(furnish(clouds, VICTIM, SECRET))
    yield clouds
    clouds.store.close()


async def furnish(clouds, account, mark):
    """Gives an account one of everything, all of it marked, and three instances: running, stopped, and pending."""

    async def call(operation, **params):
        answer = await clouds.ask(*signed("ec2", operation, params, clouds.keys[account]))
        assert answer.status == 200, answer.body
        return understood("ec2", operation, answer)

    await call("CreateKeyPair", KeyName=mark)
    await call("CreateSecurityGroup", GroupName=mark, Description=mark)
    if not clouds.store.view().list(Address, account=account):
        await call("AllocateAddress")
    image = next(one.id for one in clouds.store.view().list(Image))
    data = base64.b64encode(mark.encode()).decode()
    counts = {"MinCount": 3, "MaxCount": 3}
    answer = await call("RunInstances", ImageId=image, InstanceType="t3.micro", UserData=data, KeyName=mark, **counts)
    running, stopped, _ = [one["InstanceId"] for one in answer["Instances"]]
    await call("CreateTags", Resources=[running], Tags=[{"Key": mark, "Value": mark}])
    await call("StopInstances", InstanceIds=[stopped])
    now = clouds.clock.now()

    def report(tx):
        for id_, phase in ((running, "running"), (stopped, "off")):
            instances.observe(tx, "h", GuestObservation(instance_id=id_, boot=1, phase=phase), now)
            instances.settle(tx, id_, Scheduler(clouds.config), now)

    clouds.store.transact(report)


PARAMETERS = {
    Instance: ("InstanceId", "Resource", "ResourceId"),
    Image: ("ImageId",),
    SecurityGroup: ("GroupId", "SecurityGroupId", "Group", "ReferencedGroupId", "Resource"),
    Subnet: ("SubnetId",),
    Vpc: ("VpcId",),
    NetworkInterface: ("NetworkInterfaceId",),
    Address: ("AllocationId", "Resource"),
    Volume: ("VolumeId", "Resource"),
    KeyPair: ("KeyPairId", "Resource"),
}
"""How parameters are called that take the ids of a kind."""


def fitting(clouds):
    """What exists, of both accounts: the intruder knows all ids, and uses them."""
    view = clouds.store.view()
    found = {}
    for kind, names in PARAMETERS.items():
        for name in names:
            found.setdefault(name, []).extend(one.id for one in view.list(kind))
    mine = view.list(SecurityGroup, account=INTRUDER)
    found["SecurityGroupRuleId"] = [rule.id for group in view.list(SecurityGroup) for rule in group.rules]
    found["AssociationId"] = [one.association_id for one in view.list(Address) if one.association_id]
    found["KeyName"] = [one.name for one in view.list(KeyPair, account=INTRUDER)]
    found["GroupName"] = found["SecurityGroup"] = [group.name for group in mine]
    found["InstanceType"] = ["t3.micro", "t2.nano", "m5.large", "p2.xlarge"]
    found["Name"] = ["tag:a", "vpc-id", "group-id", "instance-id", "/aws/service/debian/release/12/latest/amd64"]
    found["Path"] = ["/aws/service", "/"]
    found["IpProtocol"] = ["tcp", "udp", "icmp", "-1", "50"]
    found["CidrIp"] = found["CidrIpv4"] = ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32"]
    return found


async def check(clouds, service, operation, request):
    answer = await clouds.ask(*request)
    told = understood(service, operation, answer)
    asked = f"{service}:{operation} {request[2]} {request[4]!r}"
    if answer.status >= 500:
        assert told["Error"]["Code"] in CAPACITY, f"{asked}\n{answer.body!r}"
    if answer.status >= 300:
        assert told["Error"]["Code"], asked
    for secret in (SECRET, VICTIM, base64.b64encode(SECRET.encode()).decode()):
        assert secret.encode() not in answer.body, f"{asked}\n{answer.body!r}"
    return answer


async def test_every_operation_of_the_models(clouds):
    """With values of the right types: those that this cloud has, and those that it refuses by name."""
    requests = Requests(1, fitting(clouds))
    before = clouds.of_victim()
    for service, operation in KNOWN:
        request = requests.signed(service, operation, clouds.keys[INTRUDER])
        answer = await check(clouds, service, operation, request)
        if (service, operation) not in DECLARED:
            assert answer.status == 400
    assert clouds.of_victim() == before


@pytest.mark.parametrize("seed", range(2, 6))
async def test_operations_that_are_here(clouds, seed):
    """With anything: few parameters and many, sensible and not, and bodies that were damaged before they were signed."""
    await furnish(clouds, INTRUDER, f"mine-{seed}")
    requests = Requests(seed, fitting(clouds))
    before = clouds.of_victim()
    for service, operation in DECLARED * 6:
        likely = requests.random.choice((0.0, 0.05, 0.1, 0.3, 0.8))
        request = requests.signed(service, operation, clouds.keys[INTRUDER], likely=likely, damage=0.3)
        await check(clouds, service, operation, request)
    assert clouds.of_victim() == before
    assert not problems(clouds.store.view(), clouds.config)


async def test_what_is_not_signed_by_whom_it_says(clouds):
    requests = Requests(7, fitting(clouds))
    before = clouds.of_victim()
    access_key, secret_key = clouds.keys[VICTIM]
    for service, operation in DECLARED:
        for keys in ((access_key, clouds.keys[INTRUDER][1]), ("AKIANOBODY", secret_key), (access_key, secret_key[:-1])):
            answer = await check(clouds, service, operation, requests.signed(service, operation, keys))
            assert answer.status in {400, 401, 403}
    assert clouds.of_victim() == before
