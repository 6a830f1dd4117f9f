/* A backend that would answer past this node is reached from the node's address, and a port of a range of ours.
 *
 * A port is one for each backend: what exhausts those of one leaves others theirs.
 */
#ifndef TIDEGATE_MASQUERADE_H
#define TIDEGATE_MASQUERADE_H

#include "lifetime.h"
#include "parsing.h"
#include "remembered.h"
#include "service.h"

#define PORT_ATTEMPTS 16

static __always_inline struct flow between(const struct address *source, __be16 source_port,
					   const struct address *destination, __be16 destination_port, __u8 protocol)
{
	return (struct flow){
	    .source = *source,
	    .destination = *destination,
	    .source_port = source_port,
	    .destination_port = destination_port,
	    .protocol = protocol,
	};
}

/* An answer as it comes to the address of the node. */
static __always_inline struct flow returning(const struct flow *flow, const struct connection *connection)
{
	return between(&connection->backend.address, connection->backend.port, &connection->node, connection->node_port,
		       flow->protocol);
}

/* The port at the node is this connection's still, and stays it. */
static __always_inline int prolong(const struct __sk_buff *skb, const struct packet *packet,
				   const struct connection *connection)
{
	struct flow answer = returning(&packet->flow, connection);
	struct translation *client = bpf_map_lookup_elem(&translations, &answer);

	if (!client || !same(&client->address, &packet->flow.source) || client->port != packet->flow.source_port)
		return 0;
	heard_client(skb, packet, client);
	return 1;
}

/* A free port; while there is none, that of who was silent for longest of those that have not established anything: a
 * flood of openings keeps nobody out, and no connection loses its port to it.
 */
static __always_inline enum reason take_port(const struct flow *flow, struct connection *connection)
{
	struct translation client = {
	    .address = flow->source, .port = flow->source_port, .reason = RETURNED, .seen_s = now_s()};
	struct flow answer;
	__u32 longest_s = 0;
	__be16 oldest = 0;

	for (int i = 0; i < PORT_ATTEMPTS; i++) {
		struct translation *taken;

		connection->node_port = bpf_htons(NODE_PORT_FIRST + bpf_get_prandom_u32() % NODE_PORTS);
		answer = returning(flow, connection);
		taken = bpf_map_lookup_elem(&translations, &answer);
		if (!taken || is_over(taken, flow->protocol)) {
			if (!bpf_map_update_elem(&translations, &answer, &client, taken ? BPF_ANY : BPF_NOEXIST))
				return BALANCED;
			continue;
		}
		if ((taken->progress & FLOW_ESTABLISHED) || (oldest && idle_s(taken) <= longest_s))
			continue;
		oldest = connection->node_port;
		longest_s = idle_s(taken);
	}
	if (!oldest)
		return DROP_NO_SOURCE;
	connection->node_port = oldest;
	answer = returning(flow, connection);
	return bpf_map_update_elem(&translations, &answer, &client, BPF_ANY) ? DROP_NO_SOURCE : BALANCED_RECLAIMED;
}

/* Whether a backend is reached from the node: it would answer past it, or itself. */
static __always_inline int is_masqueraded(const struct flow *flow, const struct backend *backend)
{
	return same(&flow->source, &backend->address) ||
	       (!is_of_node(&flow->source) && !is_of_node(&backend->address));
}

static __noinline enum reason take_source(const struct flow *flow, struct connection *connection)
{
	const struct settings *own = bpf_map_lookup_elem(&settings, &only);

	if (!own)
		return DROP_NO_SOURCE;
	connection->node = is_mapped(&flow->source) ? own->node4 : own->node6;
	return is_zero(&connection->node) ? DROP_NO_SOURCE : take_port(flow, connection);
}
#endif
