"""Wake-ups travel through a real Huey as JSON; nothing that is read from Redis can run code."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huey import MemoryHuey
from huey.api import Task
from huey.registry import Message

from crmgate.store.wakeups import TASK_NAME, JsonSerializer, wake_message
from tests.cases import all_cases

ID = "8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4"
ETA = datetime(2030, 1, 2, 3, 4, 5, 678901)


class Stage:
    """A Huey in memory with one task of the worker's name, and what was delivered through it."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.huey = MemoryHuey("test", serializer=JsonSerializer(), results=False, utc=True)

        def deliver(operation_id: str) -> None:
            self.delivered.append(operation_id)

        module, _, name = TASK_NAME.rpartition(".")
        self.deliver = self.huey.task(name=name)(deliver)
        self.deliver.task_class.__module__ = module
        self.huey._registry._registry = {TASK_NAME: self.deliver.task_class}

    def execute(self, task: Task) -> None:
        self.huey.execute(task)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def through(message: Message) -> Message:
    serializer = JsonSerializer()
    back: Message = serializer.deserialize(serializer.serialize(message))
    return back


class Evil:
    """A pickle that writes a file when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, protocol: int, stage: Stage) -> None:
    payload = pickle.dumps(Evil(tmp_path / "harmless"), protocol)
    pickle.loads(payload)
    assert (tmp_path / "harmless").exists(), "the payload would work"

    payload = pickle.dumps(Evil(tmp_path / "owned"), protocol)
    with pytest.raises(ValueError, match=r".+"):
        JsonSerializer().deserialize(payload)
    stage.huey.storage.enqueue(payload)
    with pytest.raises(ValueError, match=r".+"):
        stage.huey.dequeue()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff\xfe", b"{", b"nonsense", b'{"id":"1","name":"x","eta":"yesterday"}']
)
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        JsonSerializer().deserialize(data)


@all_cases(
    "data",
    [
        Message("1", "x", args=(object(),)),
        Message("1", "x", args=(b"bytes",)),
        Message("1", "x", kwargs={"at": datetime(2030, 1, 1)}),
        Message("1", "x", args=(float("nan"),)),
        Message("1", "x", expires=timedelta(seconds=1)),
        Message("1", "x", on_error=Message("2", "y")),
        Message("1", "x", on_complete=Message("2", "y")),
        Message("1", "x", chord_config=("c", 1, 0, Message("2", "y"))),
        {1, 2},
        object(),
    ],
    ids=lambda data: type(data).__name__,
)
def test_what_json_cannot_hold_is_a_value_error(data: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        JsonSerializer().serialize(data)


def test_a_wake_up_holds_the_id_and_nothing_else() -> None:
    assert json.loads(wake_message(ID)) == {"id": ID, "name": TASK_NAME, "args": [ID]}


def test_a_wake_up_is_the_same_bytes_each_time() -> None:
    assert wake_message(ID) == wake_message(ID) == b'{"id":"%b","name":"crmgate.worker.deliver","args":["%b"]}' % (
        ID.encode(), ID.encode(),
    )  # fmt: skip
    assert wake_message(ID) != wake_message(ID[::-1])


def test_a_wake_up_written_beside_huey_runs_in_huey(stage: Stage) -> None:
    stage.huey.storage.enqueue(wake_message(ID))
    task = stage.huey.dequeue()
    assert (task.id, task.retries, task.eta) == (ID, 0, None)
    stage.execute(task)
    assert stage.delivered == [ID]


@pytest.mark.parametrize("eta", [None, ETA, ETA.replace(tzinfo=UTC), ETA.replace(microsecond=0)])
@pytest.mark.parametrize(("retries", "delay"), [(0, 0), (3, 1), (1, 25.5)])
def test_what_huey_writes_comes_back_whole(stage: Stage, eta: datetime | None, retries: int, delay: float) -> None:
    task = stage.deliver.s(ID, eta=eta, retries=retries, retry_delay=delay, priority=7)
    message = stage.huey._registry.create_message(task)
    assert through(message) == message
    back = stage.huey.deserialize_task(stage.huey.serialize_task(task))
    assert (back.id, back.args, back.kwargs) == (task.id, (ID,), {})
    assert (back.eta, back.retries, back.retry_delay, back.priority) == (task.eta, retries, delay, 7)


def test_a_message_written_again_is_the_same_bytes(stage: Stage) -> None:
    serializer = JsonSerializer()
    written = stage.huey.serialize_task(stage.deliver.s(ID, eta=ETA, retries=2, retry_delay=5))
    assert serializer.serialize(serializer.deserialize(written)) == written


def test_a_wake_up_for_later_waits_in_hueys_schedule(stage: Stage) -> None:
    eta = ETA.replace(microsecond=0)
    stage.huey.add_schedule(stage.deliver.s(ID, eta=eta))
    assert stage.huey.read_schedule(eta - timedelta(seconds=1)) == []
    [task] = stage.huey.read_schedule(eta + timedelta(seconds=1))
    assert (task.args, task.eta) == ((ID,), eta)


def test_an_expiry_survives() -> None:
    message = Message("1", "x", expires=60, expires_resolved=ETA, args=(), kwargs={"a": [1, None, "ü"]})
    assert through(message) == message


def test_fields_of_a_newer_huey_are_ignored() -> None:
    written = b'{"id":"1","name":"x","args":["a"],"from_the_future":true}'
    assert JsonSerializer().deserialize(written) == Message("1", "x", args=("a",), kwargs={})


@all_cases("data", [None, 1, "x", [1, "a"], {"a": 1}, {"name": "x"}, {"id": "1"}, [], {}])
def test_plain_data_stays_plain(data: Any) -> None:
    serializer = JsonSerializer()
    assert serializer.deserialize(serializer.serialize(data)) == data
