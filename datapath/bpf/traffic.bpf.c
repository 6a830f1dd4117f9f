/* What every packet meets on the node's links: it is let through, marked for the proxy, or dropped; never more than one.
 *
 * Marked packets are delivered on this node by a rule of routing, and `steer` selects the socket.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "l4.h"
#include "maps.h"
#include "parsing.h"
#include "service.h"
#include "verdict.h"

static __always_inline int finish(struct __sk_buff *skb, const struct packet *packet, enum direction direction,
				  struct verdict verdict)
{
	count(verdict.reason, direction, skb->len);
	if (verdict.action == TC_ACT_SHOT || (verdict.reason == STEERED && packet->opens))
		tell(verdict.reason, direction, &packet->flow, skb->ifindex);
	return verdict.action;
}

static __always_inline struct verdict pass(enum reason reason)
{
	return (struct verdict){TC_ACT_UNSPEC, reason};
}

static __always_inline struct verdict to_proxy(struct __sk_buff *skb, enum reason reason)
{
	skb->mark = (skb->mark & ~MARK_MASK) | MARK_TO_PROXY;
	return (struct verdict){TC_ACT_UNSPEC, reason};
}

static __always_inline struct verdict serve(struct __sk_buff *skb, const struct packet *packet, int outside)
{
	const struct flow *flow = &packet->flow;
	const struct service *service = service_at(&flow->destination, flow->destination_port, flow->protocol);

	if (!service)
		return pass(PASS_NO_SERVICE);
	if (outside && !(service->flags & SERVICE_EXTERNAL))
		return pass(PASS_NOT_EXTERNAL);
	if (!is_proxied(service) || flow->protocol != IPPROTO_TCP)
		return l4_balance(skb, packet, service, ETH_HLEN);
	return to_proxy(skb, STEERED);
}

SEC("tc")
int from_workload(struct __sk_buff *skb)
{
	struct packet packet = {};

	switch (parse(skb, &packet)) {
	case PARSED_PORTS:
		return finish(skb, &packet, FROM_WORKLOAD, serve(skb, &packet, 0));
	default:
		return finish(skb, &packet, FROM_WORKLOAD, pass(PASS_NO_PORTS));
	}
}

SEC("tc")
int from_network(struct __sk_buff *skb)
{
	struct packet packet = {};

	switch (parse(skb, &packet)) {
	case PARSED_PORTS:
		return finish(skb, &packet, FROM_NETWORK, serve(skb, &packet, 1));
	default:
		return finish(skb, &packet, FROM_NETWORK, pass(PASS_NO_PORTS));
	}
}

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
	struct packet packet = {};

	parse(skb, &packet);
	return finish(skb, &packet, TO_WORKLOAD, pass(PASS_NO_SERVICE));
}

SEC("tc")
int to_network(struct __sk_buff *skb)
{
	struct packet packet = {};

	parse(skb, &packet);
	return finish(skb, &packet, TO_NETWORK, pass(PASS_NO_SERVICE));
}

char LICENSE[] SEC("license") = "GPL";
