/* Backends for packets whose sender's socket did not choose one: of clients outside, and of pods while Envoy is away.
 *
 * What arrives gets the backend's address as its destination, and what leaves gets the source that the other side
 * expects; between the two, routing and filters of the node see client and backend as they are.
 * Where the backend would answer past this node, it is reached from the node's address and a port of a range of ours.
 */
#ifndef TIDEGATE_L4_H
#define TIDEGATE_L4_H

#include <stddef.h>

#include "choice.h"
#include "icmp.h"
#include "parsing.h"
#include "remembered.h"
#include "service.h"
#include "verdict.h"

#define PORT_ATTEMPTS 16
/* A port is free again when its connection was closed, or was not heard of for so long. */
#define CLOSED_S 10
#define DATAGRAMS_S 180
#define SILENT_S 7200

#define TCP_FLAGS 13 /* from the header's begin */
#define TCP_FIN_RST 0x05

/* A verdict of TC, and why. */
struct verdict {
	int action;
	enum reason reason;
};

enum end {
	SOURCE,
	DESTINATION,
};

static __always_inline __u32 address_at(const struct packet *packet, enum end end)
{
	if (packet->ipv6)
		return end == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr);
	return end == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
}

/* A datagram without a checksum stays without one. */
static __always_inline __u64 if_any(const struct packet *packet)
{
	return packet->flow.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

static __always_inline __u32 check_at(const struct packet *packet)
{
	return packet->network + packet->transport +
	       (packet->flow.protocol == IPPROTO_UDP ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
}

static __always_inline long put_port(struct __sk_buff *skb, const struct packet *packet, enum end end, __be16 port)
{
	__be16 had = end == SOURCE ? packet->flow.source_port : packet->flow.destination_port;
	__u32 at = packet->network + packet->transport + (end == SOURCE ? 0 : sizeof(port));

	return bpf_l4_csum_replace(skb, check_at(packet), had, port, sizeof(port) | if_any(packet)) ||
	       bpf_skb_store_bytes(skb, at, &port, sizeof(port), 0);
}

/* The transport's checksum has the address in it, except in what follows the first fragment. */
static __always_inline long put_ipv4(struct __sk_buff *skb, const struct packet *packet, enum end end, __be32 address)
{
	__be32 had = end == SOURCE ? packet->flow.source.word[3] : packet->flow.destination.word[3];
	__u64 flags = BPF_F_PSEUDO_HDR | sizeof(address) | if_any(packet);

	if (!packet->follows && bpf_l4_csum_replace(skb, check_at(packet), had, address, flags))
		return -1;
	return bpf_l3_csum_replace(skb, packet->network + offsetof(struct iphdr, check), had, address,
				   sizeof(address)) ||
	       bpf_skb_store_bytes(skb, packet->network + address_at(packet, end), &address, sizeof(address), 0);
}

/* The network header has no checksum that would make up for the address in a sum over the whole packet, which the link
 * may have brought along: hence BPF_F_RECOMPUTE_CSUM. */
static __always_inline long put_ipv6(struct __sk_buff *skb, const struct packet *packet, enum end end,
				     const struct address *address)
{
	const struct address *had = end == SOURCE ? &packet->flow.source : &packet->flow.destination;
	__s64 difference = bpf_csum_diff((__be32 *)had, sizeof(*had), (__be32 *)address, sizeof(*address), 0);

	if (!packet->follows &&
	    bpf_l4_csum_replace(skb, check_at(packet), 0, difference, BPF_F_PSEUDO_HDR | if_any(packet)))
		return -1;
	return bpf_skb_store_bytes(skb, packet->network + address_at(packet, end), address, sizeof(*address),
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline struct verdict translate(struct __sk_buff *skb, const struct packet *packet, enum end end,
						const struct address *address, __be16 port, enum reason reason)
{
	long failed = packet->ipv6 ? put_ipv6(skb, packet, end, address)
				   : put_ipv4(skb, packet, end, address->word[3]);

	if (!failed && !packet->follows)
		failed = put_port(skb, packet, end, port);
	if (failed)
		return (struct verdict){TC_ACT_SHOT, DROP_MALFORMED};
	return (struct verdict){TC_ACT_UNSPEC, reason};
}

static __always_inline __u32 now_s(void)
{
	return bpf_ktime_get_ns() / NANOSECONDS;
}

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

static __always_inline int is_free(const struct translation *taken, __u8 protocol)
{
	__u32 idle_s = now_s() - taken->seen_s;

	if (taken->closed)
		return idle_s >= CLOSED_S;
	return idle_s >= (protocol == IPPROTO_UDP ? DATAGRAMS_S : SILENT_S);
}

static __always_inline int take_port(const struct flow *flow, struct connection *connection)
{
	struct translation client = {
	    .address = flow->source, .port = flow->source_port, .reason = RETURNED, .seen_s = now_s()};

	for (int i = 0; i < PORT_ATTEMPTS; i++) {
		struct translation *taken;
		struct flow answer;

		connection->node_port = bpf_htons(NODE_PORT_FIRST + bpf_get_prandom_u32() % NODE_PORTS);
		answer = returning(flow, connection);
		taken = bpf_map_lookup_elem(&translations, &answer);
		if (taken && !is_free(taken, flow->protocol))
			continue;
		if (!bpf_map_update_elem(&translations, &answer, &client, taken ? BPF_ANY : BPF_NOEXIST))
			return 1;
	}
	return 0;
}

/* Whether a backend is reached from the node: it would answer past it, or itself. */
static __always_inline int is_masqueraded(const struct flow *flow, const struct backend *backend)
{
	return same(&flow->source, &backend->address) ||
	       (!is_of_node(&flow->source) && !is_of_node(&backend->address));
}

static __noinline int take_source(const struct flow *flow, struct connection *connection)
{
	const struct settings *own = bpf_map_lookup_elem(&settings, &only);

	if (!own)
		return 0;
	connection->node = is_mapped(&flow->source) ? own->node4 : own->node6;
	return !is_zero(&connection->node) && take_port(flow, connection);
}

/* The port at the node is this connection's still, and stays it. */
static __always_inline int prolong(const struct flow *flow, const struct connection *connection, int closes)
{
	struct flow answer = returning(flow, connection);
	struct translation *client = bpf_map_lookup_elem(&translations, &answer);

	if (!client || !same(&client->address, &flow->source) || client->port != flow->source_port)
		return 0;
	client->seen_s = now_s();
	if (closes)
		client->closed = 1;
	return 1;
}

static __always_inline void present_as(const struct flow *met, const struct address *address, __be16 port,
				       enum reason reason)
{
	struct translation wanted = {.address = *address, .port = port, .reason = reason};
	struct translation *has = bpf_map_lookup_elem(&translations, met);

	if (!has || !same(&has->address, address) || has->port != port)
		bpf_map_update_elem(&translations, met, &wanted, BPF_ANY);
}

/* What is met on the way out; again for every packet, since what is remembered may have been pushed out. */
static __noinline int remember_sources(const struct flow *flow, const struct connection *connection)
{
	const struct backend *backend = &connection->backend;
	struct flow met = between(&backend->address, backend->port, &flow->source, flow->source_port, flow->protocol);

	present_as(&met, &flow->destination, flow->destination_port, ANSWERED);
	if (!connection->node_port)
		return 0;
	met = reversed(&met);
	present_as(&met, &connection->node, connection->node_port, MASQUERADED);
	return 0;
}

static __always_inline int closes(const struct __sk_buff *skb, const struct packet *packet)
{
	__u8 flags;

	return packet->flow.protocol == IPPROTO_TCP && !packet->follows &&
	       read(skb, packet->transport + TCP_FLAGS, &flags, sizeof(flags)) && (flags & TCP_FIN_RST);
}

static __always_inline struct verdict to_backend(struct __sk_buff *skb, const struct packet *packet,
						 const struct connection *connection, enum reason reason)
{
	remember_sources(&packet->flow, connection);
	return translate(skb, packet, DESTINATION, &connection->backend.address, connection->backend.port, reason);
}

/* A connection's backend is kept while it is there, for new packets as for old ones. */
static __always_inline int is_kept(const struct flow *flow, const struct service *service,
				   struct connection *connection)
{
	if (connection->service != service->id)
		return 0;
	if (connection->node_port && !prolong(flow, connection, 0))
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

/* What is worked on; the stack is too small for it. No other program of TC runs on a CPU meanwhile. */
struct desk {
	struct service service;
	struct connection connection;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct desk);
} desks SEC(".maps");

static __noinline int choose_for(const struct flow *flow, struct desk *desk)
{
	struct connection *connection = &desk->connection;
	struct client from = client_at(flow, &desk->service);

	__builtin_memset(connection, 0, sizeof(*connection));
	return choose(flow, &desk->service, &from, &connection->backend) &&
	       is_mapped(&connection->backend.address) == is_mapped(&flow->destination);
}

static __always_inline enum reason connect(const struct flow *flow, struct desk *desk)
{
	struct connection *connection = &desk->connection;

	if (!choose_for(flow, desk))
		return REFUSED_NO_BACKEND;
	connection->service = desk->service.id;
	connection->generation = desk->service.generation;
	if (is_masqueraded(flow, &connection->backend) && !take_source(flow, connection))
		return DROP_NO_SOURCE;
	bpf_map_update_elem(&connections, flow, connection, BPF_ANY);
	return BALANCED;
}

static __always_inline struct verdict refuse(struct __sk_buff *skb)
{
	skb->mark = (skb->mark & ~MARK_MASK) | MARK_REFUSE;
	return (struct verdict){TC_ACT_UNSPEC, REFUSED_NO_BACKEND};
}

/* A new flow to a service, or a datagram. */
static __always_inline struct verdict l4_balance(struct __sk_buff *skb, const struct packet *packet,
						 const struct service *service)
{
	struct connection *had = bpf_map_lookup_elem(&connections, &packet->flow);
	struct desk *desk = bpf_map_lookup_elem(&desks, &only);

	if (!desk)
		return (struct verdict){TC_ACT_SHOT, DROP_NO_SOURCE};
	desk->service = *service;
	if (had && is_kept(&packet->flow, &desk->service, had))
		return to_backend(skb, packet, had, PASS_BALANCED);
	switch (connect(&packet->flow, desk)) {
	case BALANCED:
		return to_backend(skb, packet, &desk->connection, BALANCED);
	case REFUSED_NO_BACKEND:
		return refuse(skb);
	default:
		return (struct verdict){TC_ACT_SHOT, DROP_NO_SOURCE};
	}
}

/* An answer to the node's address is one to a client. */
static __always_inline int l4_return(struct __sk_buff *skb, const struct packet *packet, struct verdict *verdict)
{
	struct translation *client;
	struct address address;

	if (bpf_ntohs(packet->flow.destination_port) < NODE_PORT_FIRST)
		return 0;
	client = bpf_map_lookup_elem(&translations, &packet->flow);
	if (!client || client->reason != RETURNED)
		return 0;
	client->seen_s = now_s();
	if (closes(skb, packet))
		client->closed = 1;
	address = client->address;
	*verdict = translate(skb, packet, DESTINATION, &address, client->port, RETURNED);
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
	if (!had || (had->node_port && !prolong(&packet->flow, had, closes(skb, packet))))
		return 0;
	*verdict = to_backend(skb, packet, had, PASS_BALANCED);
	return 1;
}

static __always_inline int l4_leaving(struct __sk_buff *skb, const struct packet *packet, struct verdict *verdict)
{
	struct translation *found = bpf_map_lookup_elem(&translations, &packet->flow);
	struct translation source;

	if (!found || found->reason == RETURNED)
		return 0;
	source = *found;
	*verdict = translate(skb, packet, SOURCE, &source.address, source.port, source.reason);
	return 1;
}

static __always_inline __u32 quoted_at(const struct packet *packet)
{
	return packet->network + packet->transport + ICMP_HEADER;
}

/* The checksum of an error covers what it quotes, where the network header of IPv4 makes up for its addresses itself. */
static __always_inline long put_quoted_address(struct __sk_buff *skb, const struct packet *packet, enum end end,
					       const struct address *had, const struct address *address)
{
	__u32 check = packet->network + packet->transport + ICMP_CHECK;
	__u32 at = quoted_at(packet) + address_at(packet, end);
	__s64 difference;

	if (!packet->ipv6)
		return bpf_l3_csum_replace(skb, quoted_at(packet) + offsetof(struct iphdr, check), had->word[3],
					   address->word[3], sizeof(__be32)) ||
		       bpf_skb_store_bytes(skb, at, &address->word[3], sizeof(__be32), 0);
	difference = bpf_csum_diff((__be32 *)had, sizeof(*had), (__be32 *)address, sizeof(*address), 0);
	return bpf_l4_csum_replace(skb, check, 0, difference, 0) ||
	       bpf_skb_store_bytes(skb, at, address, sizeof(*address), 0);
}

static __always_inline long put_quoted_port(struct __sk_buff *skb, const struct packet *packet, enum end end,
					    __be16 had, __be16 port)
{
	__u32 check = packet->network + packet->transport + ICMP_CHECK, length = sizeof(struct ipv6hdr);
	__u8 words;

	if (!packet->ipv6) {
		if (!read(skb, packet->transport + ICMP_HEADER, &words, sizeof(words)))
			return -1;
		length = (words & 0xf) * 4;
	}
	return bpf_l4_csum_replace(skb, check, had, port, sizeof(port)) ||
	       bpf_skb_store_bytes(skb, quoted_at(packet) + length + (end == SOURCE ? 0 : sizeof(port)), &port,
				   sizeof(port), 0);
}

static __always_inline long put_receiver(struct __sk_buff *skb, const struct packet *packet,
					 const struct address *address)
{
	const struct address *had = &packet->flow.destination;
	__u32 at = packet->network + address_at(packet, DESTINATION);
	__s64 difference;

	if (!packet->ipv6)
		return bpf_l3_csum_replace(skb, packet->network + offsetof(struct iphdr, check), had->word[3],
					   address->word[3], sizeof(__be32)) ||
		       bpf_skb_store_bytes(skb, at, &address->word[3], sizeof(__be32), 0);
	difference = bpf_csum_diff((__be32 *)had, sizeof(*had), (__be32 *)address, sizeof(*address), 0);
	return bpf_l4_csum_replace(skb, packet->network + packet->transport + ICMP_CHECK, 0, difference,
				   BPF_F_PSEUDO_HDR) ||
	       bpf_skb_store_bytes(skb, at, address, sizeof(*address), BPF_F_RECOMPUTE_CSUM);
}

/* An error about an answer is the backend's, as it has sent that. What is quoted of it may end after the ports. */
static __noinline int l4_error(struct __sk_buff *skb, const struct packet *packet, const struct flow *about)
{
	struct flow asked = reversed(about);
	const struct connection *of = bpf_map_lookup_elem(&connections, &asked);

	if (!of)
		return 0;
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
	if (direction == TO_WORKLOAD || direction == TO_NETWORK)
		return l4_leaving(skb, packet, verdict);
	return l4_arriving(skb, packet, verdict);
}
#endif
