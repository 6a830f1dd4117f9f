/* Connections that Envoy makes from its client's address: their replies, which others would get, are Envoy's. */
#ifndef TIDEGATE_PROXIED_H
#define TIDEGATE_PROXIED_H

#include <linux/bpf.h>

#include "local_socket.h"
#include "maps.h"
#include "parsing.h"

/* Whether a segment is the last one of a connection: then room is made for others. Both sides have said that they end
 * it, and one acknowledges that; who has lost it says so again, and is told by the client's own kernel that it is over.
 */
static __always_inline int is_last(struct proxied *entry, __u32 flags, __u32 side)
{
	if (!(flags & TCP_FIN))
		return entry->closed == (PROXY_CLOSED | PEER_CLOSED);
	if (!(entry->closed & side))
		entry->closed |= side;
	return 0;
}

/* Whether a packet is for a connection of Envoy. One that Envoy has closed is the client's again, to use its port. */
static __always_inline int is_for_proxy(struct __sk_buff *skb, const struct packet *packet, const struct flow *flow)
{
	struct proxied *entry = bpf_map_lookup_elem(&proxied_as, flow);
	int connected;

	if (!entry)
		return 0;
	connected = is_connected(skb, flow, packet->ipv6);
	if (!connected || is_last(entry, packet->flags, PEER_CLOSED))
		bpf_map_delete_elem(&proxied_as, flow);
	return connected;
}

/* Whether the connection is new. */
static __always_inline int record(const struct packet *sent)
{
	struct flow reply = reversed(&sent->flow);
	struct proxied *had = bpf_map_lookup_elem(&proxied_as, &reply);
	struct proxied now = {};

	if (sent->flags & TCP_RST || (had && !sent->opens && is_last(had, sent->flags, PROXY_CLOSED))) {
		bpf_map_delete_elem(&proxied_as, &reply);
		return 0;
	}
	if (had && !(sent->opens && had->closed))
		return 0;
	now.since_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&proxied_as, &reply, &now, BPF_ANY);
	return 1;
}
#endif
