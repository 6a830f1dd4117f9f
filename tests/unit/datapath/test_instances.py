"""What an Envoy of the daemon's is made of."""

from __future__ import annotations

import json
from pathlib import Path

from datapath.instances import with_admin
from xds_server.proxy.bootstrap import BootstrapOptions, XdsSocket, bootstrap


def test_metrics_are_asked_for_where_the_admin_socket_is() -> None:
    """Each Envoy has a socket of its own, and its listener for metrics leads there."""
    options = BootstrapOptions("n", XdsSocket(Path("/x.sock")), Path("/e/admin.sock"), metrics=("127.0.0.1", 15090))
    text = with_admin(bootstrap(options), Path("/e/7.sock"))

    assert "/e/7.sock" == json.loads(text)["admin"]["address"]["pipe"]["path"]
    assert (2, 0) == (text.count('"/e/7.sock"'), text.count("admin.sock"))
