"""RBAC policies: whom they let in, as far as the client's address and the request decide."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any, Final

from xds_server.explain.match import UnmodelledError
from xds_server.translation.envoy import RbacRules

_ADDRESSES: Final = frozenset({"remote_ip", "direct_remote_ip", "source_ip"})


def _range(each: Any) -> str:
    return f"{each.address_prefix}/{each.prefix_len.value}"


def _is_principal(principal: Any, client: str) -> bool:
    kind = principal.WhichOneof("identifier")
    if kind == "any":
        return bool(principal.any)
    if kind in _ADDRESSES:
        return ip_address(client) in ip_network(_range(getattr(principal, kind)), strict=False)
    if kind == "not_id":
        return not _is_principal(principal.not_id, client)
    if kind == "and_ids":
        return all(_is_principal(each, client) for each in principal.and_ids.ids)
    if kind == "or_ids":
        return any(_is_principal(each, client) for each in principal.or_ids.ids)
    raise UnmodelledError(f"RBAC principal {kind}")


def _is_permission(permission: Any) -> bool:
    kind = permission.WhichOneof("rule")
    if kind == "any":
        return bool(permission.any)
    if kind == "not_rule":
        return not _is_permission(permission.not_rule)
    if kind == "and_rules":
        return all(_is_permission(each) for each in permission.and_rules.rules)
    if kind == "or_rules":
        return any(_is_permission(each) for each in permission.or_rules.rules)
    raise UnmodelledError(f"RBAC permission {kind}")


def _applies(policy: Any, client: str) -> bool:
    return any(_is_permission(each) for each in policy.permissions) and any(
        _is_principal(each, client) for each in policy.principals
    )


def allows(rules: Any, client: str) -> bool:
    matched = any(_applies(policy, client) for policy in rules.policies.values())
    return matched if rules.action == RbacRules.ALLOW else not matched


def words(rules: Any) -> str:
    """Who passes, in words."""
    principals = [_principal_words(each) for policy in rules.policies.values() for each in policy.principals]
    whom = " or ".join(principals) or "nobody"
    return f"only clients of {whom} (403 to others)" if rules.action == RbacRules.ALLOW else f"403 to clients of {whom}"


def _joined(word: str, parts: Iterable[Any]) -> str:
    return "(" + f" {word} ".join(_principal_words(each) for each in parts) + ")"


def _principal_words(principal: Any) -> str:
    kind = principal.WhichOneof("identifier")
    if kind in _ADDRESSES:
        return _range(getattr(principal, kind))
    if kind == "any":
        return "any address"
    if kind == "not_id":
        return f"not {_principal_words(principal.not_id)}"
    if kind == "and_ids":
        return _joined("and", principal.and_ids.ids)
    if kind == "or_ids":
        return _joined("or", principal.or_ids.ids)
    return str(kind)
