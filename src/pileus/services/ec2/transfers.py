"""Brings objects of S3 into the block store for imports, and results of exports out to S3. Run by the process of the API,
which has the object store; everything may be killed anywhere and begins anew.

It acts for the principal who asked, with no more rights.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_request_id
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import BLOCK, BlockError
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.upload import upload
from pileus.operations.call import Call, Identity, Reply
from pileus.operations.context import Context, Environment
from pileus.operations.keys import open_data_key
from pileus.records import DataKey, DiskTask
from pileus.services.s3.get import get_object
from pileus.services.s3.multipart import (
    abort_multipart_upload,
    complete_multipart_upload,
    create_multipart_upload,
    upload_part,
)
from pileus.services.s3.put import put_object
from pileus.store import LogTrimmed, Store, Transaction

log = logging.getLogger(__name__)

PART = 1 << 30
"""Bytes of a result that are put at once; more go in parts."""

_AGAIN = 2.0
_ATTEMPTS = 30
_STEP = 5
_SHARE = 20
"""The percents of an import that the fetching is."""


class Transfers:
    """All transfers, two at a time."""

    def __init__(self, store: Store, env: Environment) -> None:
        self._store = store
        self._env = env
        self._going: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(2)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                view = self._store.view()
                for task in view.list(DiskTask):
                    self._look(group, task.id)
                try:
                    async for changes in self._store.watch(view.revision):
                        for change in changes:
                            if change.kind == DiskTask.kind and not change.deleted:
                                self._look(group, change.id)
                except LogTrimmed:
                    log.warning("the change log was trimmed before it was read: starting over")

    def _look(self, group: asyncio.TaskGroup, task_id: str) -> None:
        task = self._store.view().get(DiskTask, task_id)
        due = task is not None and task.stage in {"fetching", "sending"}
        going = self._going.get(task_id)
        if due and going is None:
            self._going[task_id] = group.create_task(self._transfer(task_id))
        elif not due and going is not None:
            going.cancel()

    async def _transfer(self, task_id: str) -> None:
        try:
            async with self._slots:
                for _ in range(_ATTEMPTS):
                    task = self._store.view().get(DiskTask, task_id)
                    if task is None or task.stage not in {"fetching", "sending"}:
                        return
                    try:
                        await (self._fetch(task) if task.stage == "fetching" else self._send(task))
                    except ServiceError as error:
                        await self._note(task, _failed(task, _told(error), self._env.clock.now()))
                        return
                    except BlockError as error:
                        log.warning("a transfer is tried again", extra={"task": task_id, "reason": str(error)})
                    except Exception:
                        log.exception("a transfer failed, and is tried again", extra={"task": task_id})
                    else:
                        return
                    await self._env.clock.sleep(_AGAIN)
                task = self._store.view().get(DiskTask, task_id)
                if task is not None:
                    message = "ServerError: An internal error has occurred during conversion."
                    await self._note(task, _failed(task, message, self._env.clock.now()))
        finally:
            self._going.pop(task_id, None)

    async def _fetch(self, task: DiskTask) -> None:
        reply = await get_object(self._context(task, "GetObject"), {"Bucket": task.bucket, "Key": task.object_key})
        assert isinstance(reply, Reply)
        body, size = reply.result["Body"], int(reply.result["ContentLength"])
        try:
            if size == 0:
                raise ServiceError("The object is empty", code="EmptyObject")
            percent = [0]
            session = self._env.blocks.session()
            told = asyncio.create_task(self._tell(task, percent))
            try:
                done = await upload(
                    session,
                    _blocks(body),
                    size=size,
                    key=self._key(task.data_key_id),
                    progress=lambda count: percent.__setitem__(0, min(_SHARE, _SHARE * count * BLOCK // size)),
                )
                fetched = replace(
                    task, stage="converting", source_root=done.root.hex(), source_bytes=size, progress=_SHARE
                )
                await self._note(task, fetched)
            finally:
                told.cancel()
                await asyncio.gather(told, return_exceptions=True)
                await session.close()
        finally:
            await body.aclose()

    async def _send(self, task: DiskTask) -> None:
        assert task.result_root is not None
        session = self._env.blocks.session()
        try:
            manifest = await Manifest.open(session, bytes.fromhex(task.result_root))
            reader = Reader(session, manifest, self._key(task.data_key_id), cached=2)
            await self._put(task, reader)
        finally:
            await session.close()
        now = self._env.clock.now()
        await self._note(
            task, replace(task, stage="completed", progress=100, ended=now, result_root=None, data_key_id=None)
        )

    async def _put(self, task: DiskTask, reader: Reader) -> None:
        """Writes the object, in parts where one put could not hold it. What a killed process began is aborted by nobody but
        the bucket's lifecycle rules, as with any client.
        """
        named = {"Bucket": task.bucket, "Key": task.object_key}
        if task.result_bytes <= PART:
            await put_object(self._context(task, "PutObject", _Body(reader, 0, task.result_bytes)), named)
            return
        begun = await create_multipart_upload(self._context(task, "CreateMultipartUpload"), named)
        upload = {**named, "UploadId": begun["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            for first in range(0, task.result_bytes, PART):
                body = _Body(reader, first, min(first + PART, task.result_bytes))
                number = len(parts) + 1
                done = await upload_part(self._context(task, "UploadPart", body), {**upload, "PartNumber": number})
                parts.append({"PartNumber": number, "ETag": done["ETag"]})
            whole = {**upload, "MultipartUpload": {"Parts": parts}}
            await complete_multipart_upload(self._context(task, "CompleteMultipartUpload"), whole)
        except BaseException:
            await abort_multipart_upload(self._context(task, "AbortMultipartUpload"), upload)
            raise

    def _context(self, task: DiskTask, operation: str, body: "_Body | None" = None) -> Context:
        who = Identity(account=task.account, arn=task.arn, user_id=task.user_id, access_key="")
        call = Call(
            service="s3",
            operation=operation,
            region=task.region,
            params={},
            identity=who,
            request_id=new_request_id(),
            now=self._env.clock.now(),
            body=body,
            secure=True,
        )
        return Context(call, self._env, self._store.view(), submit=self._store.submit)

    def _key(self, data_key_id: str | None) -> BlockKey | None:
        """Raises KmsError."""
        if data_key_id is None:
            return None
        view = self._store.view()
        data_key = view.get(DataKey, data_key_id)
        if data_key is None:
            raise ServiceError("The data key is gone", code="InvalidKMSKey.NotFound")
        return BlockKey(open_data_key(view, self._env.sealer, data_key))

    async def _tell(self, task: DiskTask, percent: list[int]) -> None:
        """Writes the progress down now and then."""
        written = 0
        while True:
            await self._env.clock.sleep(1)
            if percent[0] >= written + _STEP:
                written = percent[0]
                await self._store.submit(lambda tx, now=written: _note_progress(tx, task.id, now))

    async def _note(self, before: DiskTask, after: DiskTask) -> None:
        """Writes what came of it, unless somebody ended the task meanwhile."""

        def write(tx: Transaction) -> None:
            found = tx.get(DiskTask, before.id)
            if found is not None and found.stage == before.stage:
                tx.put(replace(after, version=found.version, host_id=found.host_id))

        await self._store.submit(write)


def _note_progress(tx: Transaction, task_id: str, percent: int) -> None:
    task = tx.get(DiskTask, task_id)
    if task is not None and task.stage == "fetching" and percent > task.progress:
        tx.put(replace(task, progress=percent))


def _failed(task: DiskTask, message: str, now: datetime) -> DiskTask:
    return replace(
        task, stage="failed", message=message, ended=now, source_root=None, result_root=None, data_key_id=None
    )


def _told(error: ServiceError) -> str:
    """What the task's owner reads of an object that can't be had."""
    reason = {403: "403 Forbidden", 404: "404 Not Found"}.get(error.status, f"{error.code}: {error.message}")
    return f"ClientError: Disk validation failed [We do not have access to the given resource. Reason {reason}]"


class _Body:
    """Bytes ``first`` up to ``end`` of a result on their way into an object, as the body of a request is."""

    def __init__(self, reader: Reader, first: int, end: int) -> None:
        self._reader = reader
        self._first = first
        self._end = end
        self.length = end - first
        self.trailers: Mapping[str, str] = {}
        self.announced: Sequence[str] = ()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for offset in range(self._first, self._end, BLOCK):
            yield await self._reader.read(offset, min(BLOCK, self._end - offset))
            await asyncio.sleep(0)  # holes wait for nothing: let others have their turn


async def _blocks(body: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """A stream of bytes as numbered blocks."""
    waiting, index = bytearray(), 0
    async for piece in body:
        waiting += piece
        while len(waiting) >= BLOCK:
            yield index, bytes(waiting[:BLOCK])
            del waiting[:BLOCK]
            index += 1
    if waiting:
        yield index, bytes(waiting)


def drawn_location(task: DiskTask) -> dict[str, Any]:
    """Where an export goes, as the API tells it."""
    return {"S3Bucket": task.bucket, "S3Prefix": task.url or ""}
