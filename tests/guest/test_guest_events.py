"""Readers, tracing sessions and sampling in a guest with Debian's 6.12 kernel (some minutes: BOMBUS_TEST_GUEST=1)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guest import boot, problem

EVENTS = Path(__file__).parent.parent / "events"


def test_events_in_the_guest() -> None:
    if not os.environ.get("BOMBUS_TEST_GUEST"):
        pytest.skip("BOMBUS_TEST_GUEST=1 runs it")
    if why := problem("6.12"):
        pytest.skip(why)
    files = [EVENTS / "guest_events.py", EVENTS / "emitters.py", EVENTS / "data"]
    rows = [row for row in boot("6.12", ["guest_events"], files, seconds=600) if "outcome" in row]
    assert len(rows) == 6 and not [row for row in rows if row["outcome"] == "failed"], rows
