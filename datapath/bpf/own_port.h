/* The port that Envoy connects from in its client's name: of a range apart from those of clients.
 *
 * A backend tells connections by their addresses and ports, so that a pod and the Envoy that has its name must not have
 * the same to one backend. The kernel would choose from the node's range, which is that of pods as well.
 */
#ifndef TIDEGATE_OWN_PORT_H
#define TIDEGATE_OWN_PORT_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "parsing.h"

#define OWN_PORT_FIRST 16384
#define OWN_PORTS 13616 /* up to where node ports begin */
#define OWN_PORT_ATTEMPTS 8

#define AF_INET 2
#define AF_INET6 10

static __always_inline int is_in_clients_name(const struct bpf_sock_addr *ctx)
{
	struct bpf_sock *socket = ctx->sk;

	return socket && ctx->protocol == IPPROTO_TCP && (socket->mark & MARK_MASK) == MARK_FROM_PROXY_AS;
}

/* Zero where it has none yet. */
static __always_inline struct address bound_to(const struct bpf_sock *socket, int ipv6)
{
	if (!ipv6)
		return mapped(socket->src_ip4);
	return (struct address){{socket->src_ip6[0], socket->src_ip6[1], socket->src_ip6[2], socket->src_ip6[3]}};
}

/* Also by a connection in TIME_WAIT, and by who listens there. */
static __always_inline int is_port_taken(struct bpf_sock_addr *ctx, int ipv6, const struct address *source, __be16 port)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *other;
	__u32 size;

	if (ipv6) {
		tuple.ipv6.saddr[0] = ctx->user_ip6[0];
		tuple.ipv6.saddr[1] = ctx->user_ip6[1];
		tuple.ipv6.saddr[2] = ctx->user_ip6[2];
		tuple.ipv6.saddr[3] = ctx->user_ip6[3];
		__builtin_memcpy(tuple.ipv6.daddr, source, sizeof(*source));
		tuple.ipv6.sport = (__be16)ctx->user_port;
		tuple.ipv6.dport = port;
		size = sizeof(tuple.ipv6);
	} else {
		tuple.ipv4.saddr = ctx->user_ip4;
		tuple.ipv4.daddr = source->word[3];
		tuple.ipv4.sport = (__be16)ctx->user_port;
		tuple.ipv4.dport = port;
		size = sizeof(tuple.ipv4);
	}
	other = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!other)
		return 0;
	bpf_sk_release(other);
	return 1;
}

/* With port 0 to the address alone. */
static __always_inline long bind_to(struct bpf_sock_addr *ctx, int ipv6, const struct address *source, __be16 port)
{
	struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = port};
	struct sockaddr_in at4 = {.sin_family = AF_INET, .sin_port = port};

	if (ipv6) {
		__builtin_memcpy(&at6.sin6_addr, source, sizeof(*source));
		return bpf_bind(ctx, (struct sockaddr *)&at6, sizeof(at6));
	}
	at4.sin_addr.s_addr = source->word[3];
	return bpf_bind(ctx, (struct sockaddr *)&at4, sizeof(at4));
}

/* Where none is found it is the kernel's choice, as of any connection. */
static __always_inline void choose_own_port(struct bpf_sock_addr *ctx, int ipv6)
{
	struct bpf_sock *socket = ctx->sk;
	struct address source;

	if (!socket)
		return;
	source = bound_to(socket, ipv6);
/* Unrolled: before Linux 6.9 the verifier refuses such a loop. */
#pragma unroll
	for (int attempt = 0; attempt < OWN_PORT_ATTEMPTS; attempt++) {
		__be16 port = bpf_htons(OWN_PORT_FIRST + bpf_get_prandom_u32() % OWN_PORTS);

		if (!is_port_taken(ctx, ipv6, &source, port) && !bind_to(ctx, ipv6, &source, port))
			return;
	}
	bind_to(ctx, ipv6, &source, 0); /* who cannot have a port loses his address too */
}
#endif
