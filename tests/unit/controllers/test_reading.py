"""Parts are computed once, and again when what they were computed from has changed, directly or through another part."""

import pytest

from pileus.base.record import Record
from pileus.controllers.reading import Parts, Reading, place


class Shelf(Record, frozen=True, kw_only=True):
    kind = "test.shelf"
    indexes = ("room",)

    room: str


class Library:
    """A view of shelves."""

    def __init__(self, *shelves):
        self.shelves = {id_: Shelf(id=id_, account="", region="", room=room) for id_, room in shelves}

    def get(self, kind, record_id):
        return self.shelves.get(record_id)

    def list(self, kind, **index):
        return [shelf for shelf in self.shelves.values() if shelf.room == index["room"]]


@pytest.fixture
def computed():
    """The names of the parts that were computed, in order."""
    return []


@pytest.fixture
def room_of(computed):
    """A part of all shelves of a room, each of which is a part."""

    def shelf(view, id_):
        computed.append(id_)
        return view.get(Shelf, id_)

    def room(view, name):
        computed.append(name)
        return [
            view.part(f"shelf/{one.id}", lambda view, id_=one.id: shelf(view, id_))
            for one in view.list(Shelf, room=name)
        ]

    return lambda parts, view, name: parts.get(view, f"room/{name}", lambda view: room(view, name))


def test_what_did_not_change_is_not_computed_again(computed, room_of):
    parts, library = Parts(), Library(("s-1", "a"), ("s-2", "b"))
    first = room_of(parts, library, "a")
    parts.forget(["s-2", place(Shelf, "room", "b")])
    assert room_of(parts, library, "a") is first
    assert computed == ["a", "s-1"]


def test_a_change_reaches_the_parts_that_were_made_of_a_part_and_no_others(computed, room_of):
    parts, library = Parts(), Library(("s-1", "a"), ("s-2", "a"), ("s-3", "b"))
    room_of(parts, library, "a")
    room_of(parts, library, "b")
    computed.clear()
    parts.forget(["s-2"])
    assert "room/a" not in parts
    room_of(parts, library, "a")
    room_of(parts, library, "b")
    assert computed == ["a", "s-2"]


def test_a_new_record_under_an_index_counts(room_of):
    parts = Parts()
    assert len(room_of(parts, Library(("s-1", "a")), "a")) == 1
    parts.forget(["s-9", place(Shelf, "room", "a")])
    assert len(room_of(parts, Library(("s-1", "a"), ("s-9", "a")), "a")) == 2


def test_nothing_is_kept_of_what_is_gone(room_of):
    parts = Parts()
    for number in range(50):
        room_of(parts, Library(("s-0", "a"), (f"s-{number}", "a")), "a")
        parts.forget([f"s-{number}"])
    room_of(parts, Library(), "a")
    parts.forget(["s-0", place(Shelf, "room", "a")])
    assert vars(parts) == {"_values": {}, "_sources": {}, "_users": {}}


def test_a_part_that_can_not_be_computed_is_not_kept():
    parts = Parts()
    with pytest.raises(ZeroDivisionError):
        parts.get(Library(), "bad", lambda _: 1 / 0)
    assert "bad" not in parts
    assert parts.get(Library(), "bad", lambda _: 1) == 1


def test_clearing_drops_everything(computed, room_of):
    parts, library = Parts(), Library(("s-1", "a"))
    room_of(parts, library, "a")
    parts.clear()
    room_of(parts, library, "a")
    assert computed == ["a", "s-1"] * 2


def test_a_reading_without_parts_of_others_has_its_own():
    assert Reading(Library(("s-1", "a"))).part("x", lambda view: view.get(Shelf, "s-1").room) == "a"
