"""Delivers what flow logs recorded into their buckets. Run by the process of the API, which has the object store.

Every batch becomes one object, whose name and content follow from the batch: one that was interrupted is done again and
finds the object there. Source of names and format: https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html.
"""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_request_id
from pileus.engines.objects.errors import NoSuchBucket, ObjectsError
from pileus.operations.call import Call, Identity
from pileus.operations.context import Context, Environment
from pileus.records import FlowBatch, FlowLog
from pileus.records.flow_log import bucket_and_prefix, fields_of
from pileus.services.s3.errors import told
from pileus.services.s3.gate import enter
from pileus.services.s3.put import put_object
from pileus.store import LogTrimmed, Store, Transaction, View

log = logging.getLogger(__name__)

SERVICE = "delivery.logs.amazonaws.com"
"""The principal that bucket policies name."""
KEPT = timedelta(hours=1)
"""For how long a batch that its bucket refuses is tried again."""

_ACL = "bucket-owner-full-control"
_AGAIN = 60.0
_OWN_FAULT = 500


def object_name(flow_log: FlowLog, batch: FlowBatch) -> str:
    """The key of a batch's object, below the folder of the log's destination."""
    _, folder = bucket_and_prefix(flow_log.destination)
    account, region, at = flow_log.account, flow_log.region, batch.begun
    if flow_log.hive:
        where = f"aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region}/{at:year=%Y/month=%m/day=%d}"
    else:
        where = f"{account}/vpcflowlogs/{region}/{at:%Y/%m/%d}"
    if flow_log.hourly:
        where += f"/hour={at:%H}" if flow_log.hive else f"/{at:%H}"
    digest = sha256(batch.id.encode()).hexdigest()[:8]
    return f"{folder}AWSLogs/{where}/{account}_vpcflowlogs_{region}_{flow_log.id}_{at:%Y%m%dT%H%MZ}_{digest}.log.gz"


def object_bytes(flow_log: FlowLog, batch: FlowBatch) -> bytes:
    """The compressed object: the names of the fields, then the lines."""
    lines = (" ".join(fields_of(flow_log.format)), *batch.lines, "")
    return gzip.compress("\n".join(lines).encode(), mtime=int(batch.begun.timestamp()))


async def refusal(env: Environment, view: View, account: str, region: str, destination: str) -> str | None:
    """Why flow logs of an account can't be delivered to a destination; None when they can.

    Raises ServiceError when the object store does not answer.
    """
    bucket, folder = bucket_and_prefix(destination)
    try:
        bucket_region = (await env.objects().bucket(bucket)).region
    except NoSuchBucket:
        return f"LogDestination: {bucket} does not exist"
    call = _call(env, account, f"arn:aws:logs:{region}:{account}:*", bucket_region)
    gate = await enter(Context(call, env, view), {"Bucket": bucket, "ACL": _ACL})
    if gate.may("s3:PutObject", f"{folder}AWSLogs/{account}/", "WRITE"):
        return None
    return f"Access Denied for LogDestination: {bucket}. Please check LogDestination permission"


def _call(env: Environment, account: str, source_arn: str, region: str, body: "_Body | None" = None) -> Call:
    return Call(
        service="s3",
        operation="PutObject",
        region=region,
        params={},
        identity=Identity(account=account, arn=SERVICE, user_id=SERVICE, access_key=""),
        request_id=new_request_id(),
        now=env.clock.now(),
        body=body,
        secure=True,
        source_arn=source_arn,
    )


class FlowDelivery:
    """All deliveries, one at a time."""

    def __init__(self, store: Store, env: Environment) -> None:
        self._store = store
        self._env = env
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._remind())
            while True:
                self._wake.clear()
                await self.deliver()
                await self._wake.wait()

    async def _follow(self) -> None:
        while True:
            try:
                async for changes in self._store.watch(self._store.view().revision):
                    if any(change.kind == FlowBatch.kind and not change.deleted for change in changes):
                        self._wake.set()
            except LogTrimmed:
                self._wake.set()

    async def _remind(self) -> None:
        while True:
            await self._env.clock.sleep(_AGAIN)
            self._wake.set()

    async def deliver(self) -> None:
        """Delivers what waits. A log whose bucket refuses one batch has its others wait, too."""
        refused: set[str] = set()
        for batch in self._store.view().list(FlowBatch):
            if batch.flow_log_id in refused:
                continue
            flow_log = self._store.view().get(FlowLog, batch.flow_log_id)
            try:
                if flow_log is not None:
                    await self._put(flow_log, batch)
            except ServiceError as error:
                refused.add(batch.flow_log_id)
                await self._failed(batch, error)
            except ObjectsError as error:
                refused.add(batch.flow_log_id)
                log.warning("a delivery is tried again", extra={"batch": batch.id, "reason": str(error)})
            except Exception:
                refused.add(batch.flow_log_id)
                log.exception("a delivery failed, and is tried again", extra={"batch": batch.id})
            else:
                await self._store.submit(lambda tx, batch=batch: _delivered(tx, batch))

    async def _put(self, flow_log: FlowLog, batch: FlowBatch) -> None:
        """Raises ServiceError, ObjectsError."""
        bucket, _ = bucket_and_prefix(flow_log.destination)
        body = _Body(await asyncio.to_thread(object_bytes, flow_log, batch))
        with told():
            region = (await self._env.objects().bucket(bucket)).region
        source = f"arn:aws:logs:{flow_log.region}:{flow_log.account}:{flow_log.id}"
        call = _call(self._env, flow_log.account, source, region, body)
        context = Context(call, self._env, self._store.view(), submit=self._store.submit)
        params = {"Bucket": bucket, "Key": object_name(flow_log, batch), "ACL": _ACL, "IfNoneMatch": "*"}
        try:
            await put_object(context, params)
        except ServiceError as error:
            if error.code != "PreconditionFailed":  # else an earlier attempt stored it, and was killed then
                raise

    async def _failed(self, batch: FlowBatch, error: ServiceError) -> None:
        if error.status >= _OWN_FAULT:
            log.warning("a delivery is tried again", extra={"batch": batch.id, "reason": str(error)})
            return
        over = self._env.clock.now() - batch.begun > KEPT
        reason = f"Access error: {error.message or error.code}"
        await self._store.submit(lambda tx: _refused(tx, batch, reason, over=over))


def _delivered(tx: Transaction, batch: FlowBatch) -> None:
    flow_log, found = tx.get(FlowLog, batch.flow_log_id), tx.get(FlowBatch, batch.id)
    if found is not None:
        tx.delete(found)
    if flow_log is not None and flow_log.delivered != "SUCCESS":
        tx.put(replace(flow_log, delivered="SUCCESS", error=None))


def _refused(tx: Transaction, batch: FlowBatch, reason: str, *, over: bool) -> None:
    flow_log, found = tx.get(FlowLog, batch.flow_log_id), tx.get(FlowBatch, batch.id)
    if found is not None and over:
        tx.delete(found)
    if flow_log is not None and flow_log.error != reason:
        tx.put(replace(flow_log, delivered="FAILED", error=reason))


class _Body:
    """Bytes as the body of a request is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)
        self.trailers: Mapping[str, str] = {}
        self.announced: Sequence[str] = ()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data
