"""What the API server says of a service account token: whose pod it is, and on which node that runs.

Must not know how the API server is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from xds_server.xds.identity import is_node_name

AUDIENCE: Final = "tidegate"
PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"

_NODE: Final = "authentication.kubernetes.io/node-name"
_POD: Final = "authentication.kubernetes.io/pod-name"


class RefusedError(PermissionError):
    """The token is not that of a proxy on a node; the text says what is missing, and nothing of the token."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A pod, and the node that it was scheduled to."""

    node: str
    pod: str


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: list[str] = []


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


def review(token: str) -> bytes:
    """The body of the question."""
    spec = {"token": token, "audiences": [AUDIENCE]}
    return msgspec.json.encode({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})


def bound(answer: bytes, namespace: str, account: str) -> Bound:
    """Whom the token is of.

    :raises RefusedError: it is no valid token for us of a pod of the service account.
    """
    try:
        status = msgspec.json.decode(answer, type=_Review).status
    except msgspec.DecodeError:
        raise RefusedError("the API server's answer on the token cannot be understood") from None
    if not status.authenticated:
        raise RefusedError(f"the token is not valid: it has expired, its pod is gone, or it is not for {AUDIENCE!r}")
    # Without the audience the token is one for the API server itself, which whoever holds our place could use there.
    if AUDIENCE not in status.audiences:
        raise RefusedError(f"the token is not for the audience {AUDIENCE!r}: project one with `audience: {AUDIENCE}`")
    wanted = f"system:serviceaccount:{namespace}:{account}"
    if status.user.username != wanted:
        raise RefusedError(f"the token is of {status.user.username[:256]!r}, and must be of {wanted!r}")
    nodes, pods = status.user.extra.get(_NODE, []), status.user.extra.get(_POD, [])
    if len(pods) != 1 or not pods[0]:
        raise RefusedError("the token is not bound to a pod: use a projected one, not one from a Secret")
    if len(nodes) != 1 or not is_node_name(nodes[0]):
        raise RefusedError("the token does not tell the node of its pod: Kubernetes 1.30 and newer put it in")
    return Bound(nodes[0], pods[0])
