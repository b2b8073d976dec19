"""Performs calls: finds the declared operation and does what all of them share. Called by the gateway through ``cmd``."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from pileus.operations.call import Call, Reply
from pileus.operations.context import Context, Environment
from pileus.operations.errors import DryRunOperation, OperationNotAvailable
from pileus.operations.idempotency import perform_once
from pileus.operations.registry import Operation, Service, Then
from pileus.operations.tags import check_specifications
from pileus.store import LogTrimmed, Store, Transaction


class Dispatcher:
    """The dispatch table over the store. Instances are the gateway's ``Dispatch``.

    Attributes:
        public: the services that answer unsigned requests. streams: service and operation of those with streamed bodies.
    """

    def __init__(self, services: Iterable[Service], store: Store, env: Environment, *, patience: float = 10.0) -> None:
        """``patience`` is for how many seconds a write's answer waits for what hosts make of it (``Operation.then``)."""
        services = tuple(services)
        self.public = frozenset(service.name for service in services if service.public)
        self.streams = frozenset(
            (service.name, name)
            for service in services
            for name, operation in service.operations.items()
            if operation.streams
        )
        self._operations: Mapping[tuple[str, str], Operation] = {
            (service.name, name): operation for service in services for name, operation in service.operations.items()
        }
        self._store = store
        self._env = env
        self._patience = patience

    async def __call__(self, call: Call) -> Mapping[str, Any] | Reply:
        """The call's result in botocore's output shape.

        Raises:
            OperationNotAvailable: the operation is not declared.
            DryRunOperation: it was a dry run that would have been allowed.
            ServiceError: whatever the operation finds wrong.
        """
        operation = self._operations.get((call.service, call.operation))
        if operation is None:
            raise OperationNotAvailable(
                f"The operation {call.operation} of {call.service} is not available in this cloud yet. "
                "docs/coverage.md lists what is."
            )
        check_specifications(call.params, operation.taggable)
        if operation.dry_run and call.params.get("DryRun"):
            raise DryRunOperation("Request would have succeeded, but DryRun flag is set.")
        match operation.mode:
            case "read":
                return operation.handler(Context(call, self._env, self._store.view()), call.params)
            case "async":
                context = Context(call, self._env, self._store.view(), submit=self._store.submit)
                return await operation.handler(context, call.params)
            case "write":
                if operation.prepare is not None:
                    call = replace(call, params=await asyncio.to_thread(operation.prepare, call.params))
                result = await self._store.submit(lambda tx: self._write(operation, call, tx))
                return result if operation.then is None else await self._wait(operation.then, call, result)

    def _write(self, operation: Operation, call: Call, tx: Transaction) -> Mapping[str, Any]:
        return perform_once(operation, Context(call, self._env, tx, tx))

    async def _wait(self, then: Then, call: Call, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """What ``then`` says, as soon as it says something; the write's own answer when that takes too long."""
        try:
            async with asyncio.timeout(self._patience):
                return await self._outcome(then, call, result)
        except (TimeoutError, LogTrimmed):
            return result

    async def _outcome(self, then: Then, call: Call, result: Mapping[str, Any]) -> Mapping[str, Any]:
        view = self._store.view()
        answer = then(Context(call, self._env, view), result)
        if answer is not None:
            return answer
        async for _ in self._store.watch(view.revision):
            answer = then(Context(call, self._env, self._store.view()), result)
            if answer is not None:
                return answer
        return result
