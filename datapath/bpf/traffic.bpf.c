/* What every packet meets on the node's links: it is let through, marked for the proxy, or dropped.
 *
 * Marked packets are delivered on this node by a rule of routing, and `steer` selects the socket.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "icmp.h"
#include "identity.h"
#include "itself.h"
#include "l4.h"
#include "maps.h"
#include "neighbour.h"
#include "parsing.h"
#include "proxied.h"
#include "proxy.h"
#include "service.h"
#include "verdict.h"

#define VLAN_ID 0x0fff
#define NO_ETHERNET 0
#define LOOPBACK 1 /* its ifindex, in every network namespace */
#define PACKET_HOST 0
#define CONNECT_PORT_FIRST 10000 /* few nodes have lower ones in ip_local_port_range, where it takes a lookup more */

static __always_inline struct verdict pass(enum reason reason)
{
	return (struct verdict){TC_ACT_UNSPEC, reason};
}

static __always_inline struct verdict drop(enum reason reason)
{
	return (struct verdict){TC_ACT_SHOT, reason};
}

static __always_inline struct verdict marked(struct __sk_buff *skb, __u32 mark, enum reason reason)
{
	barrier_var(skb); /* the verifier wants its fields by their offsets, and no pointer to one of them */
	skb->mark = (skb->mark & ~MARK_MASK) | mark;
	return (struct verdict){TC_ACT_UNSPEC, reason};
}

static __always_inline struct verdict to_proxy(struct __sk_buff *skb, enum reason reason)
{
	return marked(skb, MARK_TO_PROXY, reason);
}

static __always_inline int is_told(struct verdict verdict, const struct packet *packet)
{
	switch (verdict.reason) {
	case RECORDED:
	case REFUSED_ABSENT:
	case REFUSED_NO_BACKEND:
	case REFUSED_NO_CONNECTION:
	case BALANCED_RECLAIMED:
		return 1;
	case STEERED:
	case BALANCED:
		return packet->opens;
	default:
		return verdict.action == TC_ACT_SHOT;
	}
}

static __always_inline int finish(struct __sk_buff *skb, const struct packet *packet, enum direction direction,
				  struct verdict verdict)
{
	count(verdict.reason, direction, skb->len);
	if (is_told(verdict, packet))
		tell(verdict.reason, direction, &packet->flow, skb->ifindex);
	return verdict.action;
}

static __always_inline struct verdict unparsed(enum parsed parsed)
{
	switch (parsed) {
	case PARSED_NOT_IP:
		return pass(PASS_NOT_IP);
	case PARSED_MALFORMED:
		return pass(PASS_MALFORMED);
	case PARSED_FRAGMENT:
		return pass(PASS_FRAGMENT);
	case PARSED_EXTENSIONS:
		return pass(PASS_EXTENSIONS);
	default:
		return pass(PASS_NO_PORTS);
	}
}

/* Sockets of pods choose themselves. One that has not, and is connected, was before there were programs: kube-proxy
 * leads it to a backend, to which it goes on. */
static __always_inline int is_underway(const struct packet *packet, enum direction direction)
{
	return direction == FROM_WORKLOAD && packet->flow.protocol == IPPROTO_TCP && !packet->opens;
}

static __always_inline struct verdict to_service(struct __sk_buff *skb, const struct packet *packet,
						 const struct service *service, enum direction direction)
{
	if (!is_proxied(service) || packet->flow.protocol != IPPROTO_TCP)
		return is_underway(packet, direction) ? pass(PASS_UNDERWAY) : l4_balance(skb, packet, service);
	if (!packet->opens)
		return to_proxy(skb, STEERED);
	switch (availability(service, packet->ipv6)) {
	case PROXY_SERVES:
		return to_proxy(skb, STEERED);
	case PROXY_BALANCED:
		return l4_balance(skb, packet, service);
	case PROXY_AWAITED:
		return drop(DROP_AWAIT);
	default:
		return marked(skb, MARK_REFUSE, REFUSED_ABSENT);
	}
}

/* Path MTU discovery depends on it. */
static __always_inline struct verdict without_ports(struct __sk_buff *skb, const struct packet *packet)
{
	struct flow about = {}, reply;
	const struct service *entry;
	int translated;

	if (!parse_error(skb, packet, &about))
		return pass(PASS_NO_PORTS);
	reply = reversed(&about);
	if (bpf_map_lookup_elem(&proxied_as, &reply))
		return to_proxy(skb, STEERED_ERROR);
	translated = l4_error(skb, packet, &about);
	if (translated)
		return translated > 0 ? pass(BALANCED_ERROR) : drop(DROP_MALFORMED);
	if (about.protocol != IPPROTO_TCP)
		return pass(PASS_NO_PORTS);
	entry = entry_at(&about.source, about.source_port, about.protocol);
	if (!entry || !is_known_to_proxy(entry))
		return pass(PASS_NO_PORTS);
	if (is_proxied(entry) || holder_of(skb, &reply, packet->ipv6) == HELD_BY_PROXY)
		return to_proxy(skb, STEERED_ERROR);
	return pass(PASS_NO_PORTS);
}

/* Marks do not leave a network namespace, but a packet may meet several links of one. */
static __always_inline int is_decided(const struct __sk_buff *skb)
{
	__u32 mark = skb->mark & MARK_MASK;

	return mark == MARK_TO_PROXY || mark == MARK_FROM_PROXY || mark == MARK_FROM_PROXY_AS;
}

/* A pod may not open a connection that Envoy has in its name: their backend could not tell them apart. */
static __always_inline struct verdict unserved(struct __sk_buff *skb, const struct packet *packet,
					       enum direction direction)
{
	struct flow reply = reversed(&packet->flow);

	if (direction == FROM_WORKLOAD && packet->opens && is_for_proxy(skb, packet, &reply))
		return drop(DROP_TAKEN);
	return pass(PASS_NO_SERVICE);
}

static __always_inline int is_open_to(const struct service *service, enum direction direction)
{
	return direction != FROM_NETWORK || (service->flags & SERVICE_EXTERNAL);
}

/* A segment to the node itself, which Envoy may have a socket for; ports above are of connections that are balanced. */
static __always_inline int is_to_node(const struct packet *packet)
{
	const struct flow *flow = &packet->flow;

	return flow->protocol == IPPROTO_TCP && !packet->opens &&
	       bpf_ntohs(flow->destination_port) < NODE_PORT_FIRST &&
	       bpf_map_lookup_elem(&node_addresses, &flow->destination);
}

/* Only the order of lookups depends on it. Nearly all segments to ports that connections are made from are answers to
 * Envoy, which its socket tells at once; a service would be looked for in a large map, of which each port needs another
 * page.
 */
static __always_inline int is_asked_first(const struct packet *packet)
{
	return bpf_ntohs(packet->flow.destination_port) >= CONNECT_PORT_FIRST;
}

/* Whether a socket of this node may tell whose a packet is: one lookup, that TCP makes again from a warm cache, before
 * those of whatever else it could be. A connection from outside was opened when that was allowed, and goes on when it is
 * not any more; who comes from there in the name of somebody of this node has none.
 */
static __always_inline int is_told_by_socket(const struct packet *packet, const struct service *entry, int to_node,
					     enum direction direction)
{
	if (!entry)
		return to_node;
	if (!is_open_to(entry, direction) && is_of_node(&packet->flow.source))
		return 0;
	return packet->flow.protocol == IPPROTO_TCP && is_known_to_proxy(entry) &&
	       (!packet->opens || is_leaving(entry));
}

/* A segment to what Envoy serves, which nobody else has: no kernel's backend, as none is in use, and whatever a socket of
 * this node says of it comes to the same.
 */
static __always_inline int is_envoys_alone(const struct packet *packet, const struct service *entry,
					   enum direction direction)
{
	return entry && packet->flow.protocol == IPPROTO_TCP && !packet->opens && is_proxied(entry) &&
	       !is_leaving(entry) && is_open_to(entry, direction) && !is_balancing();
}

/* Then it is no reply, and nothing of before goes on with it. */
static __always_inline int is_opened_to_proxy(const struct packet *packet, const struct service *service)
{
	return packet->opens && service && is_proxied(service);
}

/* Of who is on this node, or outside of it. */
static __always_inline struct verdict arriving(struct __sk_buff *skb, const struct packet *packet, enum parsed parsed,
					       enum direction direction)
{
	const struct flow *flow = &packet->flow;
	const struct service *entry, *service;
	enum holder holder = HELD_BY_NOBODY;
	struct verdict verdict;
	int first, told, to_node = 0;

	if (parsed == PARSED_ADDRESSES)
		return without_ports(skb, packet);
	if (parsed != PARSED_PORTS)
		return unparsed(parsed);
	if (is_decided(skb))
		return pass((skb->mark & MARK_MASK) == MARK_TO_PROXY ? PASS_STEERED : PASS_FROM_PROXY);
	first = is_asked_first(packet);
	if (first)
		to_node = is_to_node(packet);
	if (to_node) {
		holder = holder_of(skb, flow, packet->ipv6);
		if (holder == HELD_BY_PROXY) /* before any other lookup */
			return to_proxy(skb, STEERED);
	}
	entry = entry_at(&flow->destination, flow->destination_port, flow->protocol);
	if (is_envoys_alone(packet, entry, direction))
		return to_proxy(skb, STEERED);
	if (!first)
		to_node = is_to_node(packet);
	told = is_told_by_socket(packet, entry, to_node, direction);
	if (!(first && to_node) && (told || to_node))
		holder = holder_of(skb, flow, packet->ipv6);
	if (holder == HELD_BY_PROXY) /* what it sends is not tracked, so that what it gets must not be */
		return to_proxy(skb, STEERED);
	if (!told)
		holder = HELD_BY_NOBODY;
	if (holder == HELD_BY_PROCESS) /* its own, where the service is gone */
		return entry && !is_gone(entry) && is_open_to(entry, direction) ? to_proxy(skb, STEERED)
										: pass(PASS_NO_SERVICE);
	service = entry;
	if (entry && is_gone(entry))
		service = service_at(&flow->destination, flow->destination_port, flow->protocol);
	if (!is_opened_to_proxy(packet, service)) {
		if (is_for_proxy(skb, packet, flow))
			return to_proxy(skb, STEERED_REPLY);
		if (l4_continue(skb, packet, direction, &verdict))
			return verdict;
	}
	/* What Envoy has closed first, and nobody else has: its client closes, too. */
	if (holder == HELD_NO_MORE && !packet->opens && entry)
		return to_proxy(skb, STEERED);
	if (!service)
		return unserved(skb, packet, direction);
	if (!is_open_to(service, direction))
		return pass(PASS_NOT_EXTERNAL);
	return to_service(skb, packet, service, direction);
}

static __always_inline int is_tag(__be32 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Nobody at a pod's link decides for this node; a link between namespaces may leave him his mark. */
static __always_inline void unmark(struct __sk_buff *skb)
{
	barrier_var(skb); /* as in `marked` */
	skb->mark &= ~MARK_MASK;
}

static __always_inline struct verdict from_pod(struct __sk_buff *skb, struct packet *packet)
{
	struct verdict verdict;
	enum parsed parsed;
	struct flow own;

	unmark(skb);
	/* The first tag is not in the packet any more. The kernel looks below a second one without asking again. */
	if (is_tag(skb->protocol))
		return drop(DROP_DOUBLE_TAGGED);
	parsed = parse(skb, packet, A_POD);
	if (parsed == PARSED_MALFORMED)
		return drop(DROP_MALFORMED);
	if (is_forged(skb, packet, parsed, A_POD))
		return drop(DROP_SPOOFED);
	if (parsed == PARSED_EXTENSIONS)
		return drop(DROP_EXTENSIONS);
	if (parsed != PARSED_PORTS || !is_to_itself(packet))
		return arriving(skb, packet, parsed, FROM_WORKLOAD);
	own = packet->flow;
	own.destination = own.source;
	if (!is_connected(skb, &own, packet->ipv6))
		return drop(DROP_NO_CONNECTION);
	verdict = translate(skb, packet, DESTINATION, &own.destination, own.destination_port, TRANSLATED_SELF);
	if (verdict.action == TC_ACT_SHOT)
		return verdict;
	return to_proxy(skb, TRANSLATED_SELF);
}

static __always_inline struct verdict from_somebody(struct __sk_buff *skb, struct packet *packet)
{
	enum parsed parsed;

	unmark(skb);
	if (is_tag(skb->protocol))
		return drop(DROP_DOUBLE_TAGGED);
	parsed = parse(skb, packet, A_STRANGER);
	if (parsed == PARSED_MALFORMED)
		return drop(DROP_MALFORMED);
	if (is_forged(skb, packet, parsed, A_STRANGER))
		return drop(DROP_SPOOFED);
	return parsed == PARSED_EXTENSIONS ? drop(DROP_EXTENSIONS) : pass(PASS_STRANGER);
}

/* A process of the node replies to Envoy, which has come from a pod's address: so the node has routed it to the pod. */
static __always_inline struct verdict to_this_node(struct __sk_buff *skb)
{
	to_proxy(skb, STEERED_REPLY);
	return (struct verdict){bpf_redirect(LOOPBACK, BPF_F_INGRESS), STEERED_REPLY};
}

static __always_inline int is_from_proxy(const struct __sk_buff *skb)
{
	return (skb->mark & MARK_MASK) == MARK_FROM_PROXY;
}

/* As of a link of this node that is too small. */
static __noinline int error_leaving(struct __sk_buff *skb, const struct packet *packet)
{
	struct flow about = {};

	return is_balancing() && parse_error(skb, packet, &about) ? l4_error_answered(skb, packet, &about) : 0;
}

/* What others send, and Envoy in its client's name; `packet` is parsed. */
static __always_inline struct verdict leaving(struct __sk_buff *skb, const struct packet *packet, enum parsed parsed,
					      enum direction direction)
{
	__u32 mark = skb->mark & MARK_MASK;
	struct verdict verdict;
	int translated;

	if (parsed == PARSED_ADDRESSES) {
		translated = error_leaving(skb, packet);
		if (translated)
			return translated > 0 ? pass(BALANCED_ERROR) : drop(DROP_MALFORMED);
	}
	if (parsed != PARSED_PORTS)
		return unparsed(parsed);
	if (mark == MARK_FROM_PROXY_AS && packet->flow.protocol == IPPROTO_TCP)
		return pass(record(packet) ? RECORDED : PASS_FROM_PROXY);
	if (direction == TO_WORKLOAD && is_for_proxy(skb, packet, &packet->flow))
		return to_this_node(skb);
	if (l4_continue(skb, packet, direction, &verdict))
		return verdict;
	return pass(PASS_NO_SERVICE);
}

/* Envoy's packets are looked at no further. */
static __always_inline struct verdict to_outside(struct __sk_buff *skb, struct packet *packet)
{
	if (is_from_proxy(skb))
		return pass(PASS_FROM_PROXY);
	return leaving(skb, packet, parse(skb, packet, ANYBODY), TO_NETWORK);
}

static __always_inline struct verdict to_pod(struct __sk_buff *skb, struct packet *packet)
{
	struct address stand_in;
	enum parsed parsed;

	if (is_from_proxy(skb))
		return pass(PASS_FROM_PROXY);
	parsed = parse(skb, packet, ANYBODY);
	if (parsed != PARSED_PORTS || (skb->mark & MARK_MASK) != MARK_FROM_PROXY_AS || !is_from_itself(packet))
		return leaving(skb, packet, parsed, TO_WORKLOAD);
	stand_in = itself(packet->ipv6);
	return translate(skb, packet, SOURCE, &stand_in, packet->flow.source_port, TRANSLATED_SELF);
}

static __always_inline int is_of_vlan(const struct __sk_buff *skb)
{
	return skb->vlan_present && (skb->vlan_tci & VLAN_ID);
}

static __always_inline struct verdict from_outside(struct __sk_buff *skb, struct packet *packet)
{
	if (is_of_vlan(skb))
		return pass(PASS_TAGGED);
	return arriving(skb, packet, parse(skb, packet, ANYBODY), FROM_NETWORK);
}

/* Links with Ethernet have neighbours. */
static __always_inline struct verdict from_link(struct __sk_buff *skb, struct packet *packet)
{
	struct verdict verdict;
	enum parsed parsed;

	if (is_of_vlan(skb))
		return pass(PASS_TAGGED);
	parsed = parse(skb, packet, ANYBODY);
	if (is_of_neighbours(skb, packet, parsed, &verdict))
		return verdict;
	return arriving(skb, packet, parsed, FROM_NETWORK);
}

SEC("tc")
int from_workload(struct __sk_buff *skb)
{
	struct packet packet = {.network = ETH_HLEN};

	return finish(skb, &packet, FROM_WORKLOAD, from_pod(skb, &packet));
}

/* At ports of a bridge that has pods, as long as no pod is known to be there. */
SEC("tc")
int from_stranger(struct __sk_buff *skb)
{
	struct packet packet = {.network = ETH_HLEN};

	return finish(skb, &packet, FROM_WORKLOAD, from_somebody(skb, &packet));
}

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
	struct packet packet = {.network = ETH_HLEN};

	return finish(skb, &packet, TO_WORKLOAD, to_pod(skb, &packet));
}

SEC("tc")
int from_network(struct __sk_buff *skb)
{
	struct packet packet = {.network = ETH_HLEN};

	return finish(skb, &packet, FROM_NETWORK, from_link(skb, &packet));
}

SEC("tc")
int to_network(struct __sk_buff *skb)
{
	struct packet packet = {.network = ETH_HLEN};

	return finish(skb, &packet, TO_NETWORK, to_outside(skb, &packet));
}

/* Links without Ethernet: WireGuard, IP in IP. */
SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct packet packet = {.network = NO_ETHERNET};

	return finish(skb, &packet, FROM_NETWORK, from_outside(skb, &packet));
}

SEC("tc")
int to_tunnel(struct __sk_buff *skb)
{
	struct packet packet = {.network = NO_ETHERNET};

	return finish(skb, &packet, TO_NETWORK, to_outside(skb, &packet));
}

static __always_inline struct verdict unserved_by_node(const struct __sk_buff *skb, const struct packet *packet)
{
	switch (skb->mark & MARK_MASK) {
	case MARK_TO_PROXY:
		return pass(PASS_STEERED);
	case MARK_FROM_PROXY:
		return pass(PASS_FROM_PROXY);
	case MARK_FROM_PROXY_AS:
		return pass(packet->flow.protocol == IPPROTO_TCP && record(packet) ? RECORDED : PASS_FROM_PROXY);
	default:
		return pass(PASS_NO_SERVICE);
	}
}

/* A process of the node reaches a service with the mark on its socket, or by an address that the node has. */
static __always_inline struct verdict from_node(struct __sk_buff *skb, struct packet *packet)
{
	enum parsed parsed = parse(skb, packet, ANYBODY);
	__u32 mark = skb->mark & MARK_MASK;
	const struct service *service;

	if (parsed != PARSED_PORTS)
		return unparsed(parsed);
	service = service_at(&packet->flow.destination, packet->flow.destination_port, packet->flow.protocol);
	if (!service || !is_proxied(service) || !packet->opens)
		return unserved_by_node(skb, packet);
	if (mark == MARK_FROM_PROXY || mark == MARK_FROM_PROXY_AS)
		return drop(DROP_LOOP);
	return to_service(skb, packet, service, FROM_HOST);
}

/* For the node's loopback: `steer` does not see a mark, so Envoy is kept from itself before. */
SEC("tc")
int from_host(struct __sk_buff *skb)
{
	struct packet packet = {.network = ETH_HLEN};

	/* What `to_workload` has sent back is addressed to a pod's link. */
	if ((skb->mark & MARK_MASK) == MARK_TO_PROXY && skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return finish(skb, &packet, FROM_HOST, from_node(skb, &packet));
}

char LICENSE[] SEC("license") = "GPL";
