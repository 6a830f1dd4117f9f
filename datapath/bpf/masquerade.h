/* A backend that would answer past this node is reached from the node's address, and a port of a range of ours.
 *
 * A port is one for each backend: what exhausts those of one leaves others theirs.
 */
#ifndef TIDEGATE_MASQUERADE_H
#define TIDEGATE_MASQUERADE_H

#include "desk.h"
#include "lifetime.h"
#include "local_socket.h"
#include "parsing.h"
#include "remembered.h"
#include "service.h"
#include "unproven.h"

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
	if (!(client->progress & FLOW_ESTABLISHED))
		unreference(&answer, client);
	return 1;
}

static __always_inline struct translation *at_port(struct desk *desk, __be16 port)
{
	desk->connection.node_port = port;
	desk->answer = returning(&desk->flow, &desk->connection);
	return bpf_map_lookup_elem(&translations, &desk->answer);
}

/* Whether a port is this connection's from now on. It is nobody else's who may keep it, and no process of the node's. */
static __always_inline int claim(struct __sk_buff *skb, struct desk *desk, __be16 port, int reclaims)
{
	const struct translation *taken = at_port(desk, port);

	if (!port || (taken && !reclaims && !is_over(taken, desk->flow.protocol)) ||
	    is_received(skb, &desk->answer, !is_mapped(&desk->flow.source)))
		return 0;
	desk->client.address = desk->flow.source;
	desk->client.port = desk->flow.source_port;
	desk->client.reason = RETURNED;
	desk->client.seen_s = now_s();
	return !bpf_map_update_elem(&translations, &desk->answer, &desk->client, taken ? BPF_ANY : BPF_NOEXIST);
}

/* A free port; while there is none, that of who was silent for longest of those that have not established anything: a
 * flood of openings keeps nobody out, and no connection loses its port to it.
 */
static __always_inline enum reason take_port(struct __sk_buff *skb, struct desk *desk)
{
	__be16 first = 0, second = 0, oldest = 0;
	__u32 longest_s = 0;

	for (int i = 0; i < PORT_ATTEMPTS && !second; i++) {
		__be16 port = bpf_htons(NODE_PORT_FIRST + bpf_get_prandom_u32() % NODE_PORTS);
		const struct translation *taken = at_port(desk, port);

		if (!taken || is_over(taken, desk->flow.protocol)) {
			second = first ? port : 0;
			first = first ? first : port;
			continue;
		}
		if ((taken->progress & FLOW_ESTABLISHED) || (oldest && since_s(taken->seen_s) <= longest_s))
			continue;
		oldest = port;
		longest_s = since_s(taken->seen_s);
	}
	if (claim(skb, desk, first, 0) || claim(skb, desk, second, 0))
		return BALANCED;
	return claim(skb, desk, oldest, 1) ? BALANCED_RECLAIMED : DROP_NO_SOURCE;
}

/* Whether a backend is reached from the node: it would answer past it, or itself. */
static __always_inline int is_masqueraded(const struct flow *flow, const struct backend *backend)
{
	return same(&flow->source, &backend->address) ||
	       (!is_of_node(&flow->source) && !is_of_node(&backend->address));
}

/* For the connection that is on the desk. To the verifier this is a function of its own, which it looks at once. */
__noinline int take_source(struct __sk_buff *skb)
{
	const struct settings *own = bpf_map_lookup_elem(&settings, &only);
	struct desk *desk = bpf_map_lookup_elem(&desks, &only);

	if (!own || !desk)
		return DROP_NO_SOURCE;
	desk->connection.node = is_mapped(&desk->flow.source) ? own->node4 : own->node6;
	return is_zero(&desk->connection.node) ? DROP_NO_SOURCE : take_port(skb, desk);
}
#endif
