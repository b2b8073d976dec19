"""What the bench makes of its measurements: turns, medians, ratios, aims, lines."""

import json

import pytest
from bench.measure import Aim, Row, in_turns
from bench.report import as_json, line


def row(aim=None, **medians):
    return Row(what="calls", unit="calls/s", medians=medians, aim=aim)


def test_subjects_take_turns_and_the_median_counts():
    turns = []

    def subject(name, values):
        values = iter(values)
        return lambda: turns.append(name) or next(values)

    found = in_turns({"pileus": subject("pileus", [9, 1, 2]), "peer": subject("peer", [4, 4, 7])}, rounds=3)
    assert found == {"pileus": 2, "peer": 4}
    assert turns == ["pileus", "peer"] * 3


def test_a_slow_subject_is_measured_once_and_no_round_begins_after_the_budget(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    turns = []

    def subject(name, seconds):
        def run():
            turns.append(name)
            now[0] += seconds
            return seconds

        return run

    in_turns({"pileus": subject("pileus", 1), "slow": subject("slow", 4)}, rounds=9, budget=9)
    assert turns == ["pileus", "slow", *["pileus"] * 5]


@pytest.mark.parametrize(
    ("aim", "reached"),
    [
        (Aim("at least", 2, "peer"), True),
        (Aim("at least", 2.1, "peer"), False),
        (Aim("at most", 2, "peer"), True),
        (Aim("at most", 1.9, "peer"), False),
        (Aim("at most", 10), True),
        (Aim("at most", 9), False),
        (Aim("at least", 2, "somebody who was not measured"), None),
        (None, None),
    ],
)
def test_an_aim_is_reached_or_missed_at_its_limit(aim, reached):
    assert row(aim, pileus=10, peer=5).reached is reached


def test_a_line_tells_values_ratios_and_the_aim():
    text = line(row(Aim("at least", 2, "a"), pileus=1234.5, a=1000, b=0.5))
    assert text == "| calls | 1,234 calls/s | a 1,000, b 0.50 | 1.23, 2469.00 | at least 2 × a: **missed** |"


def test_the_file_has_all_numbers():
    (entry,) = json.loads(as_json([row(Aim("at most", 3), pileus=2, a=4)]))
    assert entry["medians"] == {"pileus": 2, "a": 4}
    assert entry["ratios"] == {"a": 0.5}
    assert entry["reached"] is True
