"""X52: the text of a NACK is a stranger's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xds.conversation import Client, table, thing
from xds_server.model.resource import SECRET
from xds_server.xds.detail import LONGEST, readable
from xds_server.xds.events import Rejected

KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQDc\n-----END PRIVATE KEY-----"


@given(st.text(max_size=4000))
def test_a_detail_is_short_and_on_one_line(text: str) -> None:
    """X52: whatever a peer sends, 512 printable characters at most."""
    shown = readable(text)

    assert len(shown) <= LONGEST
    assert not [char for char in shown if ord(char) < 32 or 0x7F <= ord(char) < 0xA0]


@pytest.mark.parametrize(
    "text",
    [
        f"bad key {KEY} for x",
        f"bad key {KEY}".replace("\n", "\\n"),
        f"bad key {KEY[:80]}",
        f"{KEY[30:]} and so on",
        f"{KEY}{KEY}",
        "x" * 3000 + KEY,
        "inline_bytes: " + "TUlJRXZRSUJBREFO" * 8,
    ],
    ids=["whole", "escaped", "cut off", "tail", "twice", "late", "base64"],
)
def test_no_key_is_shown(text: str) -> None:
    """X52: neither whole, nor in part."""
    shown = readable(text)

    assert not [part for part in ("MIIEvQ", "BKcwgg", "TUlJRX", "KoZIhv") if part in shown]


def test_a_refusal_that_echoes_a_key_is_redacted_everywhere() -> None:
    """X52: in the event, in what is parked and in the dump."""
    client = Client(table(thing(SECRET, "cert")), delta=True)
    [first] = client.ask(SECRET, "cert")

    client.nack(first, f"cannot load {KEY}")

    rejected = client.events[-1]
    assert isinstance(rejected, Rejected)
    assert "cannot load [PEM redacted]" == rejected.detail
    assert "MIIE" not in str(client.stream.debug()) + str(list(client.stream.statuses(SECRET))) + str(client.events)
