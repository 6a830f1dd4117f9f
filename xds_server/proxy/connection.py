"""Whether an Envoy has its control plane, and if not, why: by what Envoy says, and by dialling as it does.

Envoy itself logs a connection that fails late, or never.
Must not know how it is told.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from xds_server.proxy import admin
from xds_server.proxy.bootstrap import ClientTls
from xds_server.proxy.process import last_words

EVERY_S = 5.0
WHILE_CONNECTED_S = 60.0
"""Envoy's main thread walks all its statistics for the answer: a quarter of a second, where it has 10,000 clusters."""
AGAIN_S = 600.0
"""After this a cause that lasts is told again."""

_DIAL_S = 5.0
_CLOSED = " closed"  # so Envoy begins to say why a stream ended
_BETWEEN_ATTEMPTS_S = 60.0  # twice of what Envoy waits at most before it dials again
_SEEN_TWICE = 2  # replicas ask clients to leave now and then: that is over before it is seen twice
_EXPIRED, _ANOTHER_NAME = 10, 62  # of OpenSSL: X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH


@dataclass(frozen=True, slots=True)
class Connected:
    pass


@dataclass(frozen=True, slots=True)
class Disconnected:
    reason: str
    way_out: str
    lasting_s: float = 0.0
    """It may be over in a moment: told when it is the cause for so long."""


async def watch(
    envoy: Path,
    diagnose: Callable[[], Disconnected],
    observe: Callable[[Connected | Disconnected], None],
    every_s: float = EVERY_S,
    while_connected_s: float = WHILE_CONNECTED_S,
) -> NoReturn:
    """Tell of the connection whenever it comes or goes, and of each cause once while it lasts."""
    clock = asyncio.get_running_loop().time
    told: Connected | Disconnected | None = None
    last, told_at, found_at, missing = told, 0.0, 0.0, 0
    while True:
        connected = await is_connected(envoy)
        missing = missing + 1 if connected is False else 0
        found: Connected | Disconnected | None = Connected() if connected else None
        if missing >= _SEEN_TWICE:
            found = await asyncio.to_thread(diagnose)
        if found != last:
            last, found_at = found, clock()
        again = isinstance(found, Disconnected) and clock() - told_at >= AGAIN_S
        early = isinstance(found, Disconnected) and clock() - found_at < found.lasting_s
        if found is not None and not early and (found != told or again):
            told, told_at = found, clock()
            observe(found)
        await asyncio.sleep(while_connected_s if connected else every_s)


async def is_connected(envoy: Path) -> bool | None:
    """Whether Envoy has a stream to its control plane; None while it does not answer."""
    try:
        _, body = await admin.ask(envoy, "/stats?filter=^control_plane.connected_state$")
    except OSError:
        return None
    _, _, value = body.decode().partition("control_plane.connected_state: ")
    return value.strip() == "1" if value else None


def diagnosis(host: str, port: int, tls: ClientTls, log: Path) -> Disconnected:
    """Dials as Envoy does, and says what is in the way; blocks for some seconds at most."""
    where = f"{host}:{port}"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(tls.trusted_ca)
        context.load_cert_chain(tls.certificate, tls.private_key, password="")
        context.set_alpn_protocols(["h2"])
    except (OSError, ValueError) as error:
        return Disconnected(
            f"the authority {tls.trusted_ca} or the certificate {tls.certificate} cannot be used: "
            f"{getattr(error, 'strerror', None) or type(error).__name__}",
            "put a PEM certificate, its key and the authority of the control plane there",
        )
    try:
        with socket.create_connection((host, port), _DIAL_S) as plain:
            return _over_tls(plain, where, context, tls, log)
    except socket.gaierror as error:
        return Disconnected(
            f"the name {host} cannot be resolved: {error.strerror}",
            "look whether its Service is there, and at the DNS of this node",
        )
    except ConnectionRefusedError:
        return Disconnected(
            f"nothing listens on {where}", "look whether a replica of the control plane is ready, or change the address"
        )
    except OSError as error:
        return Disconnected(
            f"{where} is not reached: {error.strerror or 'no answer'}",
            "let this node reach it: network policies, firewalls, routes",
        )


def _over_tls(plain: socket.socket, where: str, context: ssl.SSLContext, tls: ClientTls, log: Path) -> Disconnected:
    try:
        with context.wrap_socket(plain, server_hostname=tls.server_name) as secure:
            # In TLS 1.3 a server judges the client's certificate after the client has done.
            ended = not secure.recv(1)
    except ssl.SSLCertVerificationError as error:
        return _untrusted(error, where, tls)
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            return Disconnected(f"{where} speaks no TLS that we know: {error.reason}", "see what listens there")
        ended = True
    if ended:
        return Disconnected(
            f"{where} refuses the certificate {tls.certificate}: it has expired, or is of another authority",
            "let the control plane trust its authority; one that is asked for here is renewed by itself",
        )
    _, _, words = last_words(log, _CLOSED).partition(_CLOSED)
    words = re.sub(r"^ since \d+s ago", "", words).removeprefix(": ")
    return Disconnected(
        f"{where} answers, and Envoy has no stream to it: {words or 'it says nothing of it'}",
        "see `tidegate status`, and the control plane's log",
        _BETWEEN_ATTEMPTS_S,
    )


def _untrusted(error: ssl.SSLCertVerificationError, where: str, tls: ClientTls) -> Disconnected:
    match error.verify_code:
        case code if code == _EXPIRED:
            return Disconnected(
                f"the certificate that {where} shows has expired",
                "renew it by `tidegate certificates`, which a CronJob of the chart runs",
            )
        case code if code == _ANOTHER_NAME:
            return Disconnected(
                f"the certificate that {where} shows is not for the name {tls.server_name}",
                "give the name that it is for by --xds-server-name, or have it made for this one",
            )
        case _:
            return Disconnected(
                f"the certificate that {where} shows is not of the authority in {tls.trusted_ca}",
                "put the authority that signs it there: `tidegate certificates` keeps it in ca.crt, and the ConfigMap "
                "tidegate-ca",
            )
