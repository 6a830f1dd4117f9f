"""The token of a kubeconfig, loaded again: shortly before it expires, where that is known, and when it was refused.

Plugins (`exec`) and OIDC give tokens for minutes, and a control plane runs for months.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from kubernetes_asyncio import client
from kubernetes_asyncio import config as kube_config

_TOKEN: Final = "BearerToken"  # noqa: S105  (the name of a setting)
_EARLY_S: Final = 30.0
_HOLD_OFF_S: Final = 10.0  # a plugin that fails, or gives what is refused, is not run for each request
_LONGEST_S: Final = 30.0


class Renewal:
    """A hook of kubernetes-asyncio's configuration, called before each request."""

    def __init__(self, kubeconfig: str | None, context: str | None, clock: Callable[[], float] = time.time) -> None:
        self._kubeconfig, self._context, self._clock = kubeconfig, context, clock
        self._lock = asyncio.Lock()
        self._expires: float | None = None
        self._not_before = 0.0

    async def load(self, configuration: Any) -> None:
        """Everything: where the server is, whom to believe, and the token."""
        async with asyncio.timeout(_LONGEST_S):
            loader = await kube_config.load_kube_config(
                self._kubeconfig, context=self._context, client_configuration=configuration
            )
        expiry = getattr(loader, "exec_plugin_expiry", None)
        self._expires = expiry.timestamp() if isinstance(expiry, datetime) else None

    async def __call__(self, configuration: Any) -> None:
        if self._expires is not None and self._clock() >= self._expires - _EARLY_S:
            await self.renew(configuration, configuration.api_key.get(_TOKEN, ""))

    async def renew(self, configuration: Any, refused: str) -> bool:
        """Whether there is now another token than the one that was refused, or is about to be."""
        async with self._lock:
            if configuration.api_key.get(_TOKEN, "") == refused and self._clock() >= self._not_before:
                self._not_before = self._clock() + _HOLD_OFF_S
                fresh = client.Configuration()
                await self.load(fresh)
                configuration.api_key.update(fresh.api_key)
            return bool(configuration.api_key.get(_TOKEN, "") != refused)
