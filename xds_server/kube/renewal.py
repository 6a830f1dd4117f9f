"""The credentials of a kubeconfig, loaded again: shortly before they expire, where that is known, and when refused.

Plugins (`exec`) and OIDC give tokens and client certificates for minutes, and a control plane runs for months.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from kubernetes_asyncio import client
from kubernetes_asyncio import config as kube_config

_TOKEN: Final = "BearerToken"  # noqa: S105  (the name of a setting)
_EARLY_S: Final = 30.0
_HOLD_OFF_S: Final = 10.0  # a plugin that fails, or gives what is refused, is not run for each request
_LONGEST_S: Final = 30.0


class Renewal:
    """A hook of kubernetes-asyncio's configuration, called before each request.

    `generation` counts the client certificates that there were: connections are made with one, and keep it.
    """

    def __init__(self, kubeconfig: str | None, context: str | None, clock: Callable[[], float] = time.time) -> None:
        self._kubeconfig, self._context, self._clock = kubeconfig, context, clock
        self._lock = asyncio.Lock()
        self._expires: float | None = None
        self._not_before = 0.0
        self._certificate = b""
        self.generation = 0

    async def load(self, configuration: Any) -> None:
        """Everything: where the server is, whom to believe, the token, and the client certificate."""
        async with asyncio.timeout(_LONGEST_S):
            loader = await kube_config.load_kube_config(
                self._kubeconfig, context=self._context, client_configuration=configuration
            )
        expiry = getattr(loader, "exec_plugin_expiry", None)
        certificate = _read(configuration.cert_file)
        ends = [expiry.timestamp()] if isinstance(expiry, datetime) else []
        ends += [_end(certificate)] if certificate else []
        self._expires = min(ends, default=None)
        self.generation += certificate != self._certificate
        self._certificate = certificate

    async def __call__(self, configuration: Any) -> None:
        if self._expires is not None and self._clock() >= self._expires - _EARLY_S:
            await self.renew(configuration, configuration.api_key.get(_TOKEN, ""), self.generation)

    async def renew(self, configuration: Any, refused: str, generation: int) -> bool:
        """Whether there is now another token, or another certificate, than what was refused or is about to be."""
        async with self._lock:
            same = configuration.api_key.get(_TOKEN, "") == refused and self.generation == generation
            if same and self._clock() >= self._not_before:
                self._not_before = self._clock() + _HOLD_OFF_S
                fresh = client.Configuration()
                await self.load(fresh)
                configuration.api_key.update(fresh.api_key)
                configuration.cert_file, configuration.key_file = fresh.cert_file, fresh.key_file
            return bool(configuration.api_key.get(_TOKEN, "") != refused or self.generation != generation)


def _read(path: str | None) -> bytes:
    return Path(path).read_bytes() if path else b""


def _end(certificate: bytes) -> float:
    """Until when it holds.

    :raises ValueError: it is none.
    """
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
