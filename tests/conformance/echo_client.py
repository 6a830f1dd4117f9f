#!/usr/local/python/bin/python3
"""The command `client` in pods of the suite's mesh tests: it asks a URL, and prints what the suite reads of the answer.

    client http://echo:8080/path --method=GET -H 'Name:value' --count=500

It stands for the one of the image echo-advanced; what the suite parses is in its utils/echo.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
METHOD = "/tidegate.tests.Echo/Echo"
Pairs = list[tuple[str, str]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="client")
    parser.add_argument("url")
    parser.add_argument("--method", default="GET")
    parser.add_argument("-H", dest="headers", action="append", default=[], metavar="NAME:VALUE")
    parser.add_argument("--count", type=int, default=1)
    flags = parser.parse_args()
    headers = [(name, value) for name, _, value in (each.partition(":") for each in flags.headers)]
    ask = _grpc if flags.url.startswith("grpc://") else _http
    for answer in ask(flags.url, flags.method, headers, flags.count):
        sys.stdout.write("\n".join(answer) + "\n\n")
    return 0


def _http(url: str, method: str, headers: Pairs, count: int) -> Iterator[list[str]]:
    """Each request has a connection of its own, as the kernel and Envoy choose for each."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = next((value for name, value in headers if name.lower() == "host"), parts.netloc)
    for _ in range(count):
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT_S)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", host)
        for name, value in headers:
            if name.lower() != "host":
                connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        yield _lines(response.status, response.getheaders(), body)


def _grpc(url: str, method: str, headers: Pairs, count: int) -> Iterator[list[str]]:
    import grpc  # not for what is asked by HTTP: it takes longer to import than to ask

    with grpc.insecure_channel(urlsplit(url).netloc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call: Any = channel.unary_unary(METHOD)
        metadata = [(name.lower(), value) for name, value in headers]
        for _ in range(count):
            body, answer = call.with_call(b"", metadata=metadata, timeout=TIMEOUT_S)
            yield _lines(200, answer.initial_metadata(), body)


def _lines(status: int, headers: Iterable[tuple[str, str]], body: bytes) -> list[str]:
    """`saw` is what the server was asked; Envoy's own answers have none."""
    saw = json.loads(body) if body.startswith(b"{") else {"headers": []}
    found = [f"StatusCode={status}"]
    found += [f"{name}={saw[key]}" for name, key in (("Hostname", "hostname"), ("Method", "method")) if key in saw]
    found += [f"RequestHeader={name}:{value}" for name, value in saw["headers"]]
    return found + [f"ResponseHeader={name}:{value}" for name, value in headers]


if __name__ == "__main__":
    sys.exit(main())
