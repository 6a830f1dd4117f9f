"""How logs look, by where they go."""

from __future__ import annotations

import io

import pytest
import structlog

from xds_server import log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "coloured"), [(Terminal(), "", True), (Terminal(), "1", False), (io.StringIO(), "", False)]
)
def test_only_a_terminal_gets_colours(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, no_color: str, *, coloured: bool
) -> None:
    """Text in a file has none, and nobody has them who says NO_COLOR."""
    monkeypatch.setenv("NO_COLOR", no_color)
    log.configure(form="text", stream=stream)
    structlog.get_logger().warning("said", about="all")

    assert coloured == ("\x1b[" in stream.getvalue())
    assert "said" in stream.getvalue()
