/* Which service an address and port are, who may use it, and whether Envoy is there to serve it. */
#ifndef TIDEGATE_SERVICE_H
#define TIDEGATE_SERVICE_H

#include <linux/in.h>

#include "maps.h"
#include "verdict.h"

static __always_inline const struct service *service_at(const struct address *address, __be16 port, __u8 protocol)
{
	struct service_key key = {.address = *address, .port = port, .protocol = protocol};
	const struct service *service = bpf_map_lookup_elem(&svc, &key);

	if (service)
		return service;
	__builtin_memset(&key.address, 0, sizeof(key.address));
	service = bpf_map_lookup_elem(&svc, &key);
	if (!service || !bpf_map_lookup_elem(&node_addresses, address))
		return NULL;
	return service;
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
#endif
