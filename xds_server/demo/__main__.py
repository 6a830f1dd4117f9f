"""One backend of the example, as a pod runs it: `python -m xds_server.demo reviews-v2`, on all addresses."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

from xds_server.demo.backends import BACKENDS, serve_backends


async def main(pod: str) -> None:
    found = [replace(backend, address="0.0.0.0") for backend in BACKENDS if backend.pod == pod]
    if not found:
        sys.exit(f"{pod}: no such pod in the example; give one of {', '.join(backend.pod for backend in BACKENDS)}")
    async with AsyncExitStack() as stack:
        await serve_backends(stack, backends=tuple(found))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
