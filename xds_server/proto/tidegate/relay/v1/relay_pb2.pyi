from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DecideRequest(_message.Message):
    __slots__ = ("daemons",)
    DAEMONS_FIELD_NUMBER: _ClassVar[int]
    daemons: _containers.RepeatedCompositeFieldContainer[Daemon]
    def __init__(self, daemons: _Optional[_Iterable[_Union[Daemon, _Mapping]]] = ...) -> None: ...

class DecideResponse(_message.Message):
    __slots__ = ("decided", "holders")
    class HoldersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    decided: bool
    holders: _containers.ScalarMap[str, str]
    def __init__(self, decided: _Optional[bool] = ..., holders: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Daemon(_message.Message):
    __slots__ = ("node", "announces", "unserved")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCES_FIELD_NUMBER: _ClassVar[int]
    UNSERVED_FIELD_NUMBER: _ClassVar[int]
    node: str
    announces: _containers.RepeatedScalarFieldContainer[str]
    unserved: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., announces: _Optional[_Iterable[str]] = ..., unserved: _Optional[_Iterable[str]] = ...) -> None: ...

class TellRequest(_message.Message):
    __slots__ = ("envoys",)
    ENVOYS_FIELD_NUMBER: _ClassVar[int]
    envoys: _containers.RepeatedCompositeFieldContainer[Envoy]
    def __init__(self, envoys: _Optional[_Iterable[_Union[Envoy, _Mapping]]] = ...) -> None: ...

class TellResponse(_message.Message):
    __slots__ = ("carried",)
    CARRIED_FIELD_NUMBER: _ClassVar[int]
    carried: _containers.RepeatedCompositeFieldContainer[Envoy]
    def __init__(self, carried: _Optional[_Iterable[_Union[Envoy, _Mapping]]] = ...) -> None: ...

class Envoy(_message.Message):
    __slots__ = ("node", "number", "gone", "began", "resumed", "listeners", "accepted", "no_longer_accepted", "refused", "no_longer_refused", "late", "no_longer_late", "services")
    NODE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    NO_LONGER_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    NO_LONGER_REFUSED_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    NO_LONGER_LATE_FIELD_NUMBER: _ClassVar[int]
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    node: str
    number: int
    gone: bool
    began: bool
    resumed: bool
    listeners: bool
    accepted: _containers.RepeatedCompositeFieldContainer[Resource]
    no_longer_accepted: _containers.RepeatedCompositeFieldContainer[Resource]
    refused: _containers.RepeatedCompositeFieldContainer[Resource]
    no_longer_refused: _containers.RepeatedCompositeFieldContainer[Resource]
    late: _containers.RepeatedScalarFieldContainer[str]
    no_longer_late: _containers.RepeatedScalarFieldContainer[str]
    services: bool
    def __init__(self, node: _Optional[str] = ..., number: _Optional[int] = ..., gone: _Optional[bool] = ..., began: _Optional[bool] = ..., resumed: _Optional[bool] = ..., listeners: _Optional[bool] = ..., accepted: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., no_longer_accepted: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., no_longer_refused: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., late: _Optional[_Iterable[str]] = ..., no_longer_late: _Optional[_Iterable[str]] = ..., services: _Optional[bool] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("type_url", "name", "version", "detail")
    TYPE_URL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    type_url: str
    name: str
    version: str
    detail: str
    def __init__(self, type_url: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
