/* Which service an address and port are, who may use it, and whether Envoy is there to serve it. */
#ifndef TIDEGATE_SERVICE_H
#define TIDEGATE_SERVICE_H

#include <linux/in.h>

#include "maps.h"
#include "verdict.h"

static __always_inline const struct service *at_address(const struct address *address, __be16 port, __u8 protocol)
{
	struct service_key key = {.address = *address, .port = port, .protocol = protocol};

	return bpf_map_lookup_elem(&svc, &key);
}

/* Nearly no packet is for the node itself, and its addresses are few: they are in the cache. */
static __always_inline const struct service *at_node(const struct address *address, __be16 port, __u8 protocol)
{
	const struct address every = {};

	return bpf_map_lookup_elem(&node_addresses, address) ? at_address(&every, port, protocol) : NULL;
}

/* Also what is left of one that is gone. */
static __always_inline const struct service *entry_at(const struct address *address, __be16 port, __u8 protocol)
{
	const struct service *entry = at_address(address, port, protocol);

	return entry ? entry : at_node(address, port, protocol);
}

static __always_inline int is_gone(const struct service *entry)
{
	return (entry->flags & SERVICE_GONE) != 0;
}

static __always_inline const struct service *service_at(const struct address *address, __be16 port, __u8 protocol)
{
	const struct service *entry = at_address(address, port, protocol);

	if (entry && !is_gone(entry))
		return entry;
	entry = at_node(address, port, protocol);
	return entry && !is_gone(entry) ? entry : NULL;
}

/* A pod of this node, or the node itself. */
static __always_inline int is_of_node(const struct address *address)
{
	return bpf_map_lookup_elem(&workloads, address) || bpf_map_lookup_elem(&node_addresses, address);
}

static __always_inline int is_proxied(const struct service *service)
{
	return (service->flags & SERVICE_PROXY) != 0;
}

/* Envoy has served it, and does not any more. */
static __always_inline int is_leaving(const struct service *entry)
{
	return (entry->flags & SERVICE_LEAVING) != 0;
}

/* Whether Envoy may have connections to it: those that it has, it keeps. */
static __always_inline int is_known_to_proxy(const struct service *entry)
{
	return is_proxied(entry) || is_leaving(entry);
}
#endif
