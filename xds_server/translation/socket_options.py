"""Socket options of Linux, by number: Envoy passes them on to the kernel as they are."""

from __future__ import annotations

from typing import Final

from xds_server.translation import envoy

_SOL_SOCKET, _SO_REUSEADDR, _SO_KEEPALIVE, _SO_MARK = 1, 2, 9, 36
_SOL_IP, _IP_BIND_ADDRESS_NO_PORT = 0, 24
_IPPROTO_TCP, _KEEPIDLE, _KEEPINTVL, _KEEPCNT = 6, 4, 5, 6

MARK_FROM_PROXY: Final = 0x0A00
MARK_FROM_PROXY_AS: Final = 0x0B00
"""What the programs of the datapath know Envoy's own packets by: datapath/bpf/intercept.h."""


def _option(description: str, level: int, name: int, value: int) -> envoy.SocketOption:
    return envoy.SocketOption(
        description=description, level=level, name=name, int_value=value, state=envoy.SocketOption.STATE_PREBIND
    )


FROM_PROXY: Final = _option("from the proxy", _SOL_SOCKET, _SO_MARK, MARK_FROM_PROXY)
FROM_PROXY_AS: Final = [
    _option("from the proxy, as its client", _SOL_SOCKET, _SO_MARK, MARK_FROM_PROXY_AS),
    # A port is chosen where it is known to whom, and serves for several backends at once.
    _option("no port before it connects", _SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1),
    _option("one port for several backends", _SOL_SOCKET, _SO_REUSEADDR, 1),
]

# A peer that is gone is noticed within a minute: a NAT or firewall that forgot the connection says nothing.
KEEPALIVE: Final = [
    _option("keep-alive", _SOL_SOCKET, _SO_KEEPALIVE, 1),
    _option("first probe after 10 s", _IPPROTO_TCP, _KEEPIDLE, 10),
    _option("a probe every 5 s", _IPPROTO_TCP, _KEEPINTVL, 5),
    _option("10 probes", _IPPROTO_TCP, _KEEPCNT, 10),
]
