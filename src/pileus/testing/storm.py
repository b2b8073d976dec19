"""A storm over a running cloud: several owners launch, stop, start and terminate while its processes are killed.

Every owner repeats a call until it is answered, as careful automation does: then it knows what must be true in the end.
"""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from pileus.base.clock import SystemClock
from pileus.base.ids import new_id

_NO_ROOM = frozenset({"InsufficientInstanceCapacity", "InsufficientAddressCapacity"})
_PATIENCE = 60.0


class Owner:
    """One thread with instances of its own. ``expected``: instance id → the state that it must come to.

    ``ec2`` is a client that does not retry by itself. ``answered`` counts calls, ``repeated`` those without an answer.
    """

    def __init__(self, ec2: Any, launch: Mapping[str, Any], chance: random.Random, most: int) -> None:
        self.expected: dict[str, str] = {}
        self.answered = 0
        self.repeated = 0
        self._ec2 = ec2
        self._launch = launch
        self._chance = chance
        self._most = most
        self._clock = SystemClock()

    def act(self) -> None:
        """One change, at random."""
        alive = [id_ for id_, state in self.expected.items() if state != "terminated"]
        if len(alive) < self._most and (not alive or self._chance.random() < 0.35):
            self._run()
            return
        id_ = self._chance.choice(alive)
        match self._chance.choice(["stop", "start", "reboot", "terminate"]):
            case "stop":
                self._change(id_, "stopped", "stop_instances", Force=self._chance.random() < 0.5)
            case "start":
                self._change(id_, "running", "start_instances")
            case "reboot":
                self._change(id_, self.expected[id_], "reboot_instances")
            case _:
                self._change(id_, "terminated", "terminate_instances")

    def end_all(self) -> None:
        """Terminates everything."""
        for id_ in self.expected:
            self._change(id_, "terminated", "terminate_instances")

    def _run(self) -> None:
        count = self._chance.randint(1, 3)
        token = new_id("storm")
        answer = self._until_answered(
            "run_instances", MinCount=1, MaxCount=count, ClientToken=token, **self._launch, may=_NO_ROOM
        )
        for instance in answer["Instances"] if answer else ():
            self.expected[instance["InstanceId"]] = "running"

    def _change(self, id_: str, leads_to: str, operation: str, **params: Any) -> None:
        # A repeated start may find that the first one was heard, and a start or reboot that the stop is not over.
        may = _NO_ROOM | {"IncorrectInstanceState"}
        if self._until_answered(operation, InstanceIds=[id_], may=may, **params) is not None:
            self.expected[id_] = leads_to

    def _until_answered(self, operation: str, *, may: frozenset[str], **params: Any) -> Any:
        """The answer, or None when the call was refused with one of the codes in ``may``.

        Raises:
            ClientError: it was refused otherwise. TimeoutError: there is no answer for a minute.
        """
        deadline = self._clock.monotonic() + _PATIENCE
        while self._clock.monotonic() < deadline:
            try:
                answer = getattr(self._ec2, operation)(**params)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code in may:
                    self.answered += 1
                    return None
                if not code.isdecimal():  # else only the status came: killed between the answer's head and its body
                    raise
            except (BotoCoreError, ResponseParserError):
                pass
            else:
                self.answered += 1
                return answer
            self.repeated += 1
            threading.Event().wait(0.02)
        raise TimeoutError(f"{operation} was not answered in {_PATIENCE:.0f} s")


def rage(owners: Sequence[Owner], kill: Callable[[], None], seconds: float, chance: random.Random) -> None:
    """Lets all owners act at once for a while, and calls ``kill`` at random moments.

    Raises:
        ExceptionGroup: what owners could not bear.
    """
    over = threading.Event()
    failures: list[Exception] = []

    def live(owner: Owner) -> None:
        try:
            while not over.is_set():
                owner.act()
        except Exception as error:  # noqa: BLE001 - told to the caller, from the thread
            failures.append(error)

    threads = [threading.Thread(target=live, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    clock = SystemClock()
    end = clock.monotonic() + seconds
    while (left := end - clock.monotonic()) > 0:
        over.wait(min(left, chance.uniform(0.1, 1.2)))
        kill()
    over.set()
    for thread in threads:
        thread.join()
    if failures:
        raise ExceptionGroup("the storm was too much", failures)


def processes_of(supervisor: int) -> Iterator[tuple[str, int]]:
    """The running children of a supervisor: what they are (``api``, ``controller``, ``agent``) and their ids."""
    for task in Path(f"/proc/{supervisor}/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "serve" in words:
                yield words[words.index("serve") + 1], int(pid)


def kill_one(supervisor: int, chance: random.Random) -> str:
    """Kills one of a supervisor's children as a fault would. The name of what it was; empty when none runs."""
    found = sorted(processes_of(supervisor))
    if not found:
        return ""
    name, pid = chance.choice(found)
    os.kill(pid, signal.SIGKILL)
    return name
