from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Protocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROTOCOL_UNSPECIFIED: _ClassVar[Protocol]
    TCP: _ClassVar[Protocol]
    UDP: _ClassVar[Protocol]
PROTOCOL_UNSPECIFIED: Protocol
TCP: Protocol
UDP: Protocol

class Service(_message.Message):
    __slots__ = ("frontends", "protocol", "external", "proxy", "backends", "affinity_s")
    FRONTENDS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    PROXY_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_S_FIELD_NUMBER: _ClassVar[int]
    frontends: _containers.RepeatedCompositeFieldContainer[Frontend]
    protocol: Protocol
    external: bool
    proxy: Proxy
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    affinity_s: int
    def __init__(self, frontends: _Optional[_Iterable[_Union[Frontend, _Mapping]]] = ..., protocol: _Optional[_Union[Protocol, str]] = ..., external: _Optional[bool] = ..., proxy: _Optional[_Union[Proxy, _Mapping]] = ..., backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., affinity_s: _Optional[int] = ...) -> None: ...

class Frontend(_message.Message):
    __slots__ = ("address", "port", "listener")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    port: int
    listener: str
    def __init__(self, address: _Optional[bytes] = ..., port: _Optional[int] = ..., listener: _Optional[str] = ...) -> None: ...

class Proxy(_message.Message):
    __slots__ = ("fail_mode",)
    class FailMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CLOSED: _ClassVar[Proxy.FailMode]
        OPEN: _ClassVar[Proxy.FailMode]
    CLOSED: Proxy.FailMode
    OPEN: Proxy.FailMode
    FAIL_MODE_FIELD_NUMBER: _ClassVar[int]
    fail_mode: Proxy.FailMode
    def __init__(self, fail_mode: _Optional[_Union[Proxy.FailMode, str]] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("address", "port", "weight", "terminating")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    TERMINATING_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    port: int
    weight: int
    terminating: bool
    def __init__(self, address: _Optional[bytes] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., terminating: _Optional[bool] = ...) -> None: ...

class Workloads(_message.Message):
    __slots__ = ("workloads",)
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    workloads: _containers.RepeatedCompositeFieldContainer[Workload]
    def __init__(self, workloads: _Optional[_Iterable[_Union[Workload, _Mapping]]] = ...) -> None: ...

class Workload(_message.Message):
    __slots__ = ("namespace", "name", "uid", "addresses")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    uid: str
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., uid: _Optional[str] = ..., addresses: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Announcements(_message.Message):
    __slots__ = ("announcements",)
    ANNOUNCEMENTS_FIELD_NUMBER: _ClassVar[int]
    announcements: _containers.RepeatedCompositeFieldContainer[Announcement]
    def __init__(self, announcements: _Optional[_Iterable[_Union[Announcement, _Mapping]]] = ...) -> None: ...

class Announcement(_message.Message):
    __slots__ = ("address", "interfaces")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    interfaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, address: _Optional[bytes] = ..., interfaces: _Optional[_Iterable[str]] = ...) -> None: ...
