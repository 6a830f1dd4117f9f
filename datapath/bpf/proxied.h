/* Connections that Envoy makes from its client's address: their replies, which others would get, are Envoy's. */
#ifndef TIDEGATE_PROXIED_H
#define TIDEGATE_PROXIED_H

#include <linux/bpf.h>

#include "local_socket.h"
#include "maps.h"
#include "parsing.h"

/* Whether a packet is for a connection of Envoy. One that Envoy has closed is the client's again, to use its port. */
static __always_inline int is_for_proxy(struct __sk_buff *skb, const struct flow *flow, int ipv6)
{
	if (!bpf_map_lookup_elem(&proxied_as, flow))
		return 0;
	if (is_connected(skb, flow, ipv6))
		return 1;
	bpf_map_delete_elem(&proxied_as, flow);
	return 0;
}

/* Whether the connection is new. */
static __always_inline int record(const struct flow *sent)
{
	struct flow reply = reversed(sent);
	struct proxied now = {};

	if (bpf_map_lookup_elem(&proxied_as, &reply))
		return 0;
	now.since_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&proxied_as, &reply, &now, BPF_ANY);
	return 1;
}
#endif
