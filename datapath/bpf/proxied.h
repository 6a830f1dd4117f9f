/* Connections that Envoy makes from its client's address: their replies, which others would get, are Envoy's. */
#ifndef TIDEGATE_PROXIED_H
#define TIDEGATE_PROXIED_H

#include <linux/bpf.h>

#include "local_socket.h"
#include "maps.h"
#include "parsing.h"

/* A connection that is closed has a few segments still, for which it is kept; but a full map gives it up before those
 * that go on, as in unproven.h.
 */
static __noinline int note_closed(const struct flow *reply, struct proxied *entry, __u32 flags, __u32 side)
{
	struct proxied now = *entry;

	if (flags & TCP_RST)
		now.closed = PROXY_CLOSED | PEER_CLOSED;
	else if (flags & TCP_FIN)
		now.closed |= side;
	if (now.closed != entry->closed)
		entry->closed = now.closed;
	if (now.closed != (PROXY_CLOSED | PEER_CLOSED))
		return 0;
	bpf_map_delete_elem(&proxied_as, reply);
	bpf_map_update_elem(&proxied_as, reply, &now, BPF_NOEXIST);
	return 0;
}

/* Whether a packet is for a connection of Envoy. One that Envoy has closed is the client's again, to use its port. */
static __always_inline int is_for_proxy(struct __sk_buff *skb, const struct packet *packet, const struct flow *flow)
{
	struct proxied *entry = bpf_map_lookup_elem(&proxied_as, flow);

	if (!entry)
		return 0;
	if (is_connected(skb, flow, packet->ipv6)) {
		note_closed(flow, entry, packet->flags, PEER_CLOSED);
		return 1;
	}
	bpf_map_delete_elem(&proxied_as, flow);
	return 0;
}

/* Whether the connection is new. */
static __always_inline int record(const struct packet *sent)
{
	struct flow reply = reversed(&sent->flow);
	struct proxied *had = bpf_map_lookup_elem(&proxied_as, &reply);
	struct proxied now = {};

	if (had && !(sent->opens && had->closed)) {
		note_closed(&reply, had, sent->flags, PROXY_CLOSED);
		return 0;
	}
	now.since_ns = bpf_ktime_get_ns();
	bpf_map_update_elem(&proxied_as, &reply, &now, BPF_ANY);
	return 1;
}
#endif
