"""The gRPC service of the demo, `tidegate.demo.Echo`, with its descriptor, so that reflection tells what it is."""

from __future__ import annotations

from functools import cache
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection

SERVICE = "tidegate.demo.Echo"
SAY = f"/{SERVICE}/Say"
STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
MESSAGES = {"Request": ("message",), "Reply": ("message", "service", "version", "pod", "forwarded_for")}


@cache
def messages() -> dict[str, Any]:
    """The classes of `MESSAGES`, registered where reflection looks for them."""
    file = descriptor_pb2.FileDescriptorProto(name="tidegate/demo/echo.proto", package="tidegate.demo", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, start=1):
            message.field.add(name=field, number=number, type=STRING, label="LABEL_OPTIONAL")
    service = file.service.add(name="Echo")
    service.method.add(name="Say", input_type=".tidegate.demo.Request", output_type=".tidegate.demo.Reply")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tidegate.demo.{name}")) for name in MESSAGES
    }


async def server(address: str, port: int, service: str, version: str) -> Any:
    """A started server; whoever starts it stops it."""
    request, reply = messages()["Request"], messages()["Reply"]

    async def say(asked: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        return reply(
            message=asked.message,
            service=service,
            version=version,
            pod=f"{service}-{version}",
            forwarded_for=metadata.get("x-forwarded-for", ""),
        )

    methods = {
        "Say": grpc.unary_unary_rpc_method_handler(
            say,
            request_deserializer=request.FromString,
            response_serializer=reply.SerializeToString,
        ),
    }
    started = grpc.aio.server()
    started.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), started)
    started.add_insecure_port(f"{address}:{port}")
    await started.start()
    return started


async def say(target: str, authority: str, method: str, text: str) -> Any:
    """The reply of one call through a gateway.

    :raises grpc.aio.AioRpcError: the call's status is not OK.
    """
    request, reply = messages()["Request"], messages()["Reply"]
    options = [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        call = channel.unary_unary(
            method,
            request_serializer=request.SerializeToString,
            response_deserializer=reply.FromString,
        )
        return await call(request(message=text), timeout=5)
