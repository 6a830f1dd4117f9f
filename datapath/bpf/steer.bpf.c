/* Gives a connection to the address of a proxied service to a listener of Envoy, wherever that listens. */
#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "parsing.h"
#include "proxy.h"
#include "service.h"
#include "verdict.h"

#define AF_INET 2

static __always_inline struct flow flow_of(struct bpf_sk_lookup *ctx)
{
	struct flow flow = {.protocol = IPPROTO_TCP, .destination_port = bpf_htons(ctx->local_port)};

	flow.source_port = (__be16)ctx->remote_port;
	if (ctx->family == AF_INET) {
		flow.source = mapped(ctx->remote_ip4);
		flow.destination = mapped(ctx->local_ip4);
		barrier(); /* the verifier wants each field of the context read by its own offset */
		return flow;
	}
	flow.source.word[0] = ctx->remote_ip6[0];
	flow.source.word[1] = ctx->remote_ip6[1];
	flow.source.word[2] = ctx->remote_ip6[2];
	flow.source.word[3] = ctx->remote_ip6[3];
	flow.destination.word[0] = ctx->local_ip6[0];
	flow.destination.word[1] = ctx->local_ip6[1];
	flow.destination.word[2] = ctx->local_ip6[2];
	flow.destination.word[3] = ctx->local_ip6[3];
	barrier();
	return flow;
}

static __always_inline int refuse(enum reason reason, const struct flow *flow)
{
	count(reason, DELIVERY, 0);
	tell(reason, DELIVERY, flow, 0);
	return SK_DROP; /* which TCP answers with a reset */
}

static __always_inline int select(struct bpf_sk_lookup *ctx)
{
	__u32 first = first_listener(ctx->family != AF_INET);

#pragma unroll
	for (__u32 i = 0; i < LISTENERS_PER_FAMILY; i++) {
		__u32 slot = first + i;
		struct bpf_sock *socket = bpf_map_lookup_elem(&listeners, &slot);
		long failed;

		if (!socket)
			continue;
		failed = bpf_sk_assign(ctx, socket, 0);
		bpf_sk_release(socket);
		if (!failed)
			return 1;
	}
	return 0;
}

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	const struct service *service;
	struct flow flow;
	__u32 *asks;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	asks = bpf_map_lookup_elem(&asking, &only);
	if (asks && *asks)
		return SK_DROP;
	flow = flow_of(ctx);
	service = service_at(&flow.destination, flow.destination_port, IPPROTO_TCP);
	if (!service || !is_proxied(service))
		return ctx->local_port == CAPTURE_PORT ? refuse(REFUSED_CAPTURE_PORT, &flow) : SK_PASS;
	if (!(service->flags & SERVICE_EXTERNAL) && !is_of_node(&flow.source))
		return refuse(REFUSED_NOT_EXTERNAL, &flow);
	if (!select(ctx))
		return refuse(REFUSED_NO_LISTENER, &flow);
	count(SELECTED, DELIVERY, 0);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
