/* Backends for packets whose sender's socket did not choose one: of clients outside, and of pods while Envoy is away.
 *
 * What arrives gets the backend's address as its destination, and what leaves gets the source that the other side
 * expects; between the two, routing and filters of the node see client and backend as they are.
 * Where the backend would answer past this node, it is reached from the node's address and a port of a range of ours.
 */
#ifndef TIDEGATE_L4_H
#define TIDEGATE_L4_H

#include "choice.h"
#include "desk.h"
#include "lifetime.h"
#include "masquerade.h"
#include "parsing.h"
#include "remembered.h"
#include "rewriting.h"
#include "service.h"
#include "unproven.h"
#include "verdict.h"

/* An entry that was pushed out comes again with the next packet, by which it is known that there was one. */
static __always_inline __u8 progress_of(const struct packet *packet)
{
	return packet->opens || packet->flow.protocol == IPPROTO_UDP ? 0 : FLOW_REPLIED | FLOW_ESTABLISHED;
}

/* Answers of a backend to a client's port are of one connection. While that goes on they stay its own: whoever opens
 * another one in the client's name, by another service that has the backend, does not lead them astray.
 */
static __always_inline int is_anothers(const struct translation *has, const struct address *address, __be16 port,
				       __u8 protocol)
{
	return protocol == IPPROTO_TCP && (has->progress & FLOW_ESTABLISHED) && !is_closed(has) &&
	       !is_over(has, protocol) && (!same(&has->address, address) || has->port != port);
}

/* What is there may be another's. What is written anew is not looked up, as that would keep it. */
static __always_inline struct translation *present_as(const struct flow *met, const struct address *address,
						      __be16 port, enum reason reason, __u8 progress)
{
	struct translation wanted = {
	    .address = *address, .port = port, .reason = reason, .progress = progress, .seen_s = now_s()};
	struct translation *has = bpf_map_lookup_elem(&translations, met);

	if (has && ((same(&has->address, address) && has->port == port) ||
		    (reason == ANSWERED && is_anothers(has, address, port, met->protocol))))
		return has;
	bpf_map_update_elem(&translations, met, &wanted, BPF_ANY);
	return NULL;
}

/* How a packet goes on that was balanced. */
enum onward {
	ONWARD_NOT, /* its answers would be another connection's */
	ONWARD_OPENING,
	ONWARD_ESTABLISHED,
};

/* What is met on the way out; again for every packet, since what is remembered may have been pushed out. */
static __noinline enum onward remember_sources(const struct __sk_buff *skb, const struct packet *packet,
					       const struct connection *connection)
{
	const struct backend *backend = &connection->backend;
	const struct flow *flow = &packet->flow;
	__u8 progress = progress_of(packet) | (connection->node_port ? FLOW_REPLIED : 0);
	struct flow met = between(&backend->address, backend->port, &flow->source, flow->source_port, flow->protocol);
	struct translation *masqueraded, *answered =
	    present_as(&met, &flow->destination, flow->destination_port, ANSWERED, progress);

	if (answered && is_anothers(answered, &flow->destination, flow->destination_port, flow->protocol))
		return ONWARD_NOT;
	if (answered) {
		heard_client(skb, packet, answered);
		progress = answered->progress;
		if (!(progress & FLOW_ESTABLISHED))
			unreference(&met, answered);
	}
	progress &= FLOW_ESTABLISHED;
	if (connection->node_port) {
		met = reversed(&met);
		masqueraded = present_as(&met, &connection->node, connection->node_port, MASQUERADED, progress);
		if (masqueraded && masqueraded->progress != progress)
			masqueraded->progress = progress;
		if (masqueraded && !progress)
			unreference(&met, masqueraded);
	}
	return progress ? ONWARD_ESTABLISHED : ONWARD_OPENING;
}

static __always_inline struct verdict to_backend(struct __sk_buff *skb, const struct packet *packet,
						 const struct connection *connection, enum reason reason)
{
	struct backend backend = connection->backend;

	note_balanced();
	switch (remember_sources(skb, packet, connection)) {
	case ONWARD_NOT:
		if (packet->opens) /* who tries again may get another backend */
			bpf_map_delete_elem(&connections, &packet->flow);
		return (struct verdict){TC_ACT_SHOT, DROP_TAKEN};
	case ONWARD_OPENING:
		if (reason == PASS_BALANCED)
			unreference_connection(&packet->flow, connection);
		break;
	case ONWARD_ESTABLISHED:
		break;
	}
	return translate(skb, packet, DESTINATION, &backend.address, backend.port, reason);
}

/* A connection's backend is kept while it is there, for new packets as for old ones. */
static __always_inline int is_kept(const struct __sk_buff *skb, const struct packet *packet,
				   const struct service *service, struct connection *connection)
{
	if (connection->service != service->id)
		return 0;
	if (connection->node_port && !prolong(skb, packet, connection))
		return 0;
	if (connection->generation == service->generation)
		return 1;
	connection->slot = slot_of(service, &connection->backend, connection->slot);
	connection->generation = service->generation;
	return connection->slot < service->backends;
}

static __always_inline struct client client_at(const struct flow *flow, const struct service *service)
{
	if (!(service->flags & SERVICE_AFFINITY))
		return (struct client){};
	return (struct client){.address = flow->source, .kind = CLIENT_ADDRESS, .service = service->id};
}

static __noinline int choose_for(const struct flow *flow, struct desk *desk)
{
	struct connection *connection = &desk->connection;

	desk->from = client_at(flow, &desk->service);
	__builtin_memset(connection, 0, sizeof(*connection));
	return choose(flow, &desk->service, &desk->from, &connection->backend) && is_usable(&connection->backend, flow);
}

static __always_inline enum reason connect(struct __sk_buff *skb, const struct packet *packet, struct desk *desk)
{
	struct connection *connection = &desk->connection;
	const struct flow *flow = &packet->flow;
	enum reason reason = BALANCED;

	if (!choose_for(flow, desk))
		return REFUSED_NO_BACKEND;
	desk->flow = *flow;
	connection->service = desk->service.id;
	connection->generation = desk->service.generation;
	if (is_masqueraded(flow, &connection->backend))
		reason = take_source(skb);
	if (reason != DROP_NO_SOURCE)
		bpf_map_update_elem(&connections, flow, connection, BPF_ANY);
	return reason;
}

static __always_inline struct verdict refuse(struct __sk_buff *skb, enum reason reason)
{
	skb->mark = (skb->mark & ~MARK_MASK) | MARK_REFUSE;
	return (struct verdict){TC_ACT_UNSPEC, reason};
}

/* A new flow to a service, or a datagram. A segment of a connection that is not known opens none: what it belongs to
 * has ended here, which a reset tells whoever has really sent it.
 */
static __always_inline struct verdict l4_balance(struct __sk_buff *skb, const struct packet *packet,
						 const struct service *service)
{
	struct connection *had = bpf_map_lookup_elem(&connections, &packet->flow);
	struct desk *desk = bpf_map_lookup_elem(&desks, &only);
	enum reason reason;

	if (packet->flow.protocol == IPPROTO_TCP && !packet->opens)
		return refuse(skb, REFUSED_NO_CONNECTION);
	if (!desk)
		return (struct verdict){TC_ACT_SHOT, DROP_NO_SOURCE};
	desk->service = *service;
	if (had && is_kept(skb, packet, &desk->service, had))
		return to_backend(skb, packet, had, PASS_BALANCED);
	reason = connect(skb, packet, desk);
	switch (reason) {
	case REFUSED_NO_BACKEND:
		return refuse(skb, reason);
	case DROP_NO_SOURCE:
		return (struct verdict){TC_ACT_SHOT, reason};
	default:
		return to_backend(skb, packet, &desk->connection, reason);
	}
}

/* An answer to the node's address is one to a client. */
static __always_inline int l4_return(struct __sk_buff *skb, const struct packet *packet, struct verdict *verdict)
{
	struct translation *client;
	struct address address;
	__be16 port;

	if (bpf_ntohs(packet->flow.destination_port) < NODE_PORT_FIRST)
		return 0;
	client = bpf_map_lookup_elem(&translations, &packet->flow);
	if (!client || client->reason != RETURNED)
		return 0;
	note_balanced();
	heard_backend(skb, packet, client);
	address = client->address;
	port = client->port;
	if (!(client->progress & FLOW_ESTABLISHED))
		unreference(&packet->flow, client);
	*verdict = translate(skb, packet, DESTINATION, &address, port, RETURNED);
	return 1;
}

static __always_inline int l4_arriving(struct __sk_buff *skb, const struct packet *packet, struct verdict *verdict)
{
	struct connection *had;

	if (l4_return(skb, packet, verdict))
		return 1;
	/* A datagram's service says whether it goes on as before; so it is with what opens a connection. */
	if (packet->opens || packet->flow.protocol != IPPROTO_TCP)
		return 0;
	had = bpf_map_lookup_elem(&connections, &packet->flow);
	if (!had || (had->node_port && !prolong(skb, packet, had)))
		return 0;
	*verdict = to_backend(skb, packet, had, PASS_BALANCED);
	return 1;
}

static __always_inline int is_replied(const struct translation *entry, __u8 protocol)
{
	return protocol != IPPROTO_TCP || (entry->progress & FLOW_REPLIED);
}

/* Whether it is of the connection that has the entry. Before the backend has answered that, somebody may only have said
 * that he opens one, in the name of who is connected to the backend directly.
 */
static __always_inline int is_answered(const struct __sk_buff *skb, const struct packet *packet,
				       struct translation *entry)
{
	if (!is_replied(entry, packet->flow.protocol) && !answers_opening(skb, packet))
		return 0;
	heard_backend(skb, packet, entry);
	return 1;
}

static __always_inline int l4_leaving(struct __sk_buff *skb, const struct packet *packet, struct verdict *verdict)
{
	struct translation *found = bpf_map_lookup_elem(&translations, &packet->flow);
	struct translation source;

	if (!found || found->reason == RETURNED)
		return 0;
	if (found->reason == ANSWERED && !is_answered(skb, packet, found))
		return 0;
	note_balanced();
	source = *found;
	if (!(source.progress & FLOW_ESTABLISHED))
		unreference(&packet->flow, found);
	*verdict = translate(skb, packet, SOURCE, &source.address, source.port, source.reason);
	return 1;
}

/* An error about what was sent from the node's port is its client's. */
static __noinline int l4_error_returned(struct __sk_buff *skb, const struct packet *packet, const struct flow *about)
{
	struct flow answer = reversed(about);
	const struct translation *client;

	if (bpf_ntohs(about->source_port) < NODE_PORT_FIRST)
		return 0;
	client = bpf_map_lookup_elem(&translations, &answer);
	if (!client || client->reason != RETURNED)
		return 0;
	if (put_quoted_address(skb, packet, SOURCE, &about->source, &client->address) ||
	    put_quoted_port(skb, packet, SOURCE, about->source_port, client->port) ||
	    put_receiver(skb, packet, &client->address))
		return -1;
	return 1;
}

/* One about what a client has sent quotes the backend, which that does not know, until it leaves for the client. */
static __noinline int l4_error_answered(struct __sk_buff *skb, const struct packet *packet, const struct flow *about)
{
	struct flow answer = reversed(about);
	const struct translation *service = bpf_map_lookup_elem(&translations, &answer);

	if (!service || service->reason != ANSWERED || !is_replied(service, about->protocol))
		return 0;
	if (put_quoted_address(skb, packet, DESTINATION, &about->destination, &service->address) ||
	    put_quoted_port(skb, packet, DESTINATION, about->destination_port, service->port))
		return -1;
	return 1;
}

/* An error about an answer is the backend's, as it has sent that. What is quoted of it may end after the ports. */
static __noinline int l4_error(struct __sk_buff *skb, const struct packet *packet, const struct flow *about)
{
	struct flow asked = reversed(about);
	const struct connection *of = bpf_map_lookup_elem(&connections, &asked);

	if (!of)
		return l4_error_returned(skb, packet, about);
	if (put_quoted_address(skb, packet, SOURCE, &about->source, &of->backend.address) ||
	    put_quoted_port(skb, packet, SOURCE, about->source_port, of->backend.port) ||
	    put_receiver(skb, packet, &of->backend.address))
		return -1;
	if (of->node_port && (put_quoted_address(skb, packet, DESTINATION, &about->destination, &of->node) ||
			      put_quoted_port(skb, packet, DESTINATION, about->destination_port, of->node_port)))
		return -1;
	return 1;
}

/* Whether a packet is of a flow that `l4_balance` has seen, in either direction: then it is dealt with here. */
static __always_inline int l4_continue(struct __sk_buff *skb, const struct packet *packet, enum direction direction,
				       struct verdict *verdict)
{
	if (!is_balancing())
		return 0;
	if (direction == TO_WORKLOAD || direction == TO_NETWORK)
		return l4_leaving(skb, packet, verdict);
	return l4_arriving(skb, packet, verdict);
}
#endif
