"""What runs in pods of the suite's mesh tests: it answers with what it was asked, by HTTP and gRPC.

It stands for the server of the image echo-advanced, without TLS and bare TCP, for which no test asks.
"""

from __future__ import annotations

import argparse
import json
import socket
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc

HOSTNAME = socket.gethostname()


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    """Head and body in one segment: the second of two would wait for the first one to be acknowledged."""

    def answer(self) -> None:
        body = saw(self.command, list(self.headers.items()))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815  (the names that the base class calls)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 1024
    daemon_threads = True


class EchoCall(grpc.GenericRpcHandler):
    """Every method answers."""

    def service(self, _: Any) -> Any:
        def answer(_: bytes, context: Any) -> bytes:
            return saw("POST", [(each.key, str(each.value)) for each in context.invocation_metadata()])

        return grpc.unary_unary_rpc_method_handler(answer)


def saw(method: str, headers: list[tuple[str, str]]) -> bytes:
    return json.dumps({"hostname": HOSTNAME, "method": method, "headers": headers}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(prog="server")
    parser.add_argument("--port", type=int, action="append", default=[])
    parser.add_argument("--tls", type=int, action="append", default=[], help="these are not served")
    parser.add_argument("--grpc", type=int, default=7070)
    flags, _ = parser.parse_known_args()
    called = grpc.server(futures.ThreadPoolExecutor(16), handlers=[EchoCall()])
    called.add_insecure_port(f"[::]:{flags.grpc}")
    called.start()
    for port in flags.port or [8080]:
        if port not in flags.tls:
            Thread(target=Server(("::", port), Echo).serve_forever, daemon=True).start()
    called.wait_for_termination()


if __name__ == "__main__":
    main()
