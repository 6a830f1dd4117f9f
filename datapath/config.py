"""What the daemon was told: one YAML file, checked whole before anything starts.

`$(NAME)` in a text of it is what NAME has in the environment, so that all nodes can have one file.
Every fault names the file, the field and the way out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
import yaml

from datapath.places import Places
from datapath.shape import Fault, sifted
from xds_server.proxy.bootstrap import BootstrapOptions, ClientTls, XdsHost, XdsSocket
from xds_server.proxy.process import EnvoyNotFoundError, find

MOST_WORKERS: Final = 8
"""Of an Envoy: the sockets of two of them, the old and the new, have to fit into the map of listeners."""

_LONGEST_FILE: Final = 1 << 20
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  (what somebody may have written)
_VARIABLE: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


T = TypeVar("T")


class ConfigError(ValueError):
    """The text is for the operator."""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Files, read anew at each connection."""

    certificate: Path
    private_key: Path
    authority: Path
    server_name: str = ""
    """The name in the server's certificate; empty for the host of `server`."""


class EnvoyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    binary: Path | None = None
    """Empty: as `tidegate proxy` finds it."""
    concurrency: int | None = None
    drain_seconds: float = 20.0
    """How long connections of an old Envoy may take to end after the new one serves."""
    silence_seconds: float = 30.0
    """For how long an Envoy may not answer before it is ended, and another one started."""
    metrics: str = ""
    zone: str = ""


class Config(Places, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    node: str
    """The node's name, as Kubernetes has it."""
    server: str
    """The ADS server: unix:PATH, or HOST:PORT, with `tls` unless it is on this machine's loopback."""
    tls: Tls | None = None
    devices: tuple[str, ...] = ()
    """Links that lead off the node; empty for those of the default routes."""
    addresses: tuple[str, ...] = ()
    """Addresses of the node; empty for all that its links have, but those of loopback."""
    envoy: EnvoyConfig = EnvoyConfig()
    metrics: str = ""
    """HOST:PORT for /metrics, /healthz and /readyz; empty for none."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "text", "json"] = "auto"

    @property
    def own_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        return tuple(ip_address(text) for text in self.addresses)


class _Loader(yaml.SafeLoader):
    """A field that is there twice is a fault: "mapping keys must be unique" (YAML 1.2.2, 3.2.1.1)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value[:64]} is there twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Config:
    """Read and check a file; nothing else is looked at yet.

    :raises ConfigError: it cannot be read, or something in it cannot be used.
    """
    return parse(_read(path), str(path))


def load_places(path: Path) -> Places:
    """As `load`, and no other field is looked at: whatever has become of the rest, and of the environment."""
    return parse_places(_read(path), str(path))


def _read(path: Path) -> str:
    try:
        found = path.stat()
        if found.st_size > _LONGEST_FILE:
            raise ConfigError(f"{path}: it is larger than {_LONGEST_FILE} bytes: name the daemon's configuration")
        if found.st_mode & stat.S_IWOTH and stat.S_ISREG(found.st_mode):
            why = f"everybody may write it (mode {stat.S_IMODE(found.st_mode):04o}), and it says what root runs"
            raise ConfigError(f"{path}: {why}: take that away, `chmod o-w {path}`")
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}: name a file that can be read by --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: it is no UTF-8 text: write it as YAML") from None


def parse(text: str, origin: str, environ: Mapping[str, str] = os.environ) -> Config:
    """As `load`, of a text that is from somewhere."""
    return _checked(_filled(_fields(text, origin), environ, origin), Config, _faults, origin)


def parse_places(text: str, origin: str, environ: Mapping[str, str] = os.environ) -> Places:
    """As `load_places`, of a text that is from somewhere."""
    document = _fields(text, origin)
    own = {name: value for name, value in document.items() if name in Places.__struct_fields__}
    return _checked(_filled(own, environ, origin), Places, _path_faults, origin)


def _checked(document: object, kind: type[T], faults_of: Callable[[T], list[Fault]], origin: str) -> T:
    """All that is wrong is told at once; values that depend on each other, when each can be had."""
    sound, faults = sifted(document, kind, _path)
    with suppress(msgspec.ValidationError):  # what is missing is told
        found = msgspec.convert(sound, kind, dec_hook=_path)
        known = {field for field, _ in faults}
        faults += [(field, fault) for field, fault in faults_of(found) if field not in known]
        if not faults:
            return found
    assert faults, "what a structure refuses is sifted out before"
    raise ConfigError("\n".join(f"{origin}: {field}: {fault}" for field, fault in faults))


def _fields(text: str, origin: str) -> dict[str, object]:
    try:
        document = _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{origin}:{where} is no YAML: {getattr(error, 'problem', None) or 'correct it'}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: it has no fields: give at least node, server and state")
    return document


def _filled(document: object, environ: Mapping[str, str], origin: str) -> object:
    try:
        return _with(document, environ)
    except KeyError as error:
        raise ConfigError(
            f"{origin}: $({error.args[0]}) is not in the environment: set it, or write its value"
        ) from None
    except RecursionError:
        raise ConfigError(f"{origin}: something in it has itself as a part: write it out") from None


def _with(value: object, environ: Mapping[str, str]) -> object:
    if isinstance(value, dict):
        return {name: _with(each, environ) for name, each in value.items()}
    if isinstance(value, list):
        return [_with(each, environ) for each in value]
    return _VARIABLE.sub(lambda found: environ[found[1]], value) if isinstance(value, str) else value


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("Expected a path")


def _faults(config: Config) -> list[Fault]:
    return [
        *_node_faults(config.node),
        *_server_faults(config),
        *_path_faults(config),
        *_address_faults(config.addresses),
        *_device_faults(config.devices),
        *_envoy_faults(config.envoy),
        *_metrics_faults(config.metrics, config.envoy.metrics),
        *(
            [("metrics", f"{config.metrics!r}: give HOST:PORT")]
            if config.metrics and not host_port(config.metrics)
            else []
        ),
    ]


def _node_faults(name: str) -> list[Fault]:
    if 0 < len(name) <= 253 and name.isascii() and name.isprintable() and not set(name) & set("/ *"):
        return []
    return [("node", f"{name[:64]!r}: give the node's name, as Kubernetes has it")]


def _server_faults(config: Config) -> list[Fault]:
    if config.server.startswith("unix:"):
        if config.tls is not None:
            return [("tls", "a Unix socket has none: leave it out, or give server as HOST:PORT")]
        path = config.server.removeprefix("unix:")
        if not path:
            return [("server", "'unix:': give it as unix:PATH")]
        return [] if path.startswith("/") else [("server", f"{config.server}: give its path from / on")]
    address = host_port(config.server)
    if address is None:
        return [("server", f"{config.server!r}: give it as unix:PATH or HOST:PORT")]
    try:
        XdsHost(*address, client_tls(config))
    except ValueError:
        return [("tls", f"{config.server} is not on this machine: give certificate, privateKey and authority")]
    return []


def _path_faults(places: Places) -> list[Fault]:
    paths = {"state": places.state, "bpffs": places.bpffs, "cgroup": places.cgroup}
    faults = [(field, f"{path}: give it from / on") for field, path in paths.items() if not path.is_absolute()]
    longest = places.state / "envoy-00000000.sock"
    if len(os.fsencode(longest)) > 107:
        faults.append(("state", f"{places.state}: too long for the sockets in it, which have 107 bytes: name another"))
    return faults


def _address_faults(addresses: tuple[str, ...]) -> list[Fault]:
    faults = []
    for index, text in enumerate(addresses):
        try:
            address = ip_address(text)
        except ValueError:
            faults.append((f"addresses[{index}]", f"{text[:64]!r}: give an IPv4 or IPv6 address"))
            continue
        if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
            faults.append((f"addresses[{index}]", f"{text}: give one that others reach the node by"))
    return faults


def _device_faults(devices: tuple[str, ...]) -> list[Fault]:
    return [
        (f"devices[{index}]", f"{name[:64]!r}: give the name of a link, as `ip link` shows it")
        for index, name in enumerate(devices)
        if not 0 < len(name) <= 15 or "/" in name or " " in name or not name.isprintable()
    ]


def _envoy_faults(envoy: EnvoyConfig) -> list[Fault]:
    faults = []
    if envoy.concurrency is not None and not 1 <= envoy.concurrency <= MOST_WORKERS:
        faults.append(("envoy.concurrency", f"{envoy.concurrency}: give a number from 1 to {MOST_WORKERS}"))
    if not 0 <= envoy.drain_seconds <= 3600:
        faults.append(("envoy.drainSeconds", f"{envoy.drain_seconds:g}: give a number from 0 to 3600"))
    if not 10 <= envoy.silence_seconds <= 3600:
        faults.append(("envoy.silenceSeconds", f"{envoy.silence_seconds:g}: give a number from 10 to 3600"))
    if envoy.metrics and not host_port(envoy.metrics):
        faults.append(("envoy.metrics", f"{envoy.metrics!r}: give ADDRESS:PORT"))
    return faults


def _metrics_faults(own: str, envoys: str) -> list[Fault]:
    """Two that listen for the same."""
    (host, port), (other, same) = host_port(own) or ("", 0), host_port(envoys) or ("", 0)
    # A socket at every address of IPv6 has none of IPv4, neither the daemon's nor Envoy's.
    of_one_family = (":" in host) == (":" in other)
    if not port or port != same or (host != other and not (of_one_family and {host, other} & _EVERYWHERE)):
        return []
    return [("envoy.metrics", f"{envoys}: `metrics` has this port, {own}: give another one")]


def host_port(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        return None
    return host.strip("[]"), int(port)


def client_tls(config: Config) -> ClientTls | None:
    """What Envoy and the daemon show the server; Envoy takes new files while it runs."""
    if config.tls is None:
        return None
    host, _ = host_port(config.server) or ("", 0)
    tls = config.tls
    return ClientTls(tls.certificate, tls.private_key, tls.authority, tls.server_name or host, config.state / "sources")


def bootstrap_options(config: Config, admin: Path) -> BootstrapOptions:
    """What the node's Envoy is told before it has spoken to the control plane.

    :raises ConfigError: Envoy could not use it.
    """
    try:
        return BootstrapOptions(
            node_id=config.node,
            xds=_xds(config),
            admin=admin,
            zone=config.envoy.zone,
            metrics=host_port(config.envoy.metrics) if config.envoy.metrics else None,
        )
    except ValueError as error:
        raise ConfigError(f"envoy: {error}") from None


def _xds(config: Config) -> XdsSocket | XdsHost:
    if config.server.startswith("unix:"):
        return XdsSocket(Path(config.server.removeprefix("unix:")))
    host, port = host_port(config.server) or ("", 0)
    return XdsHost(host, port, client_tls(config))


def envoy_binary(config: Config) -> Path:
    """:raises ConfigError: there is none."""
    try:
        return find(config.envoy.binary, os.environ)
    except EnvoyNotFoundError as error:
        raise ConfigError(f"envoy.binary: {str(error).removeprefix('--envoy names ')}") from None
