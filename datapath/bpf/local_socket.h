/* The sockets of this node's network namespace, as packets would find them. */
#ifndef TIDEGATE_LOCAL_SOCKET_H
#define TIDEGATE_LOCAL_SOCKET_H

#include <linux/bpf.h>

#include "parsing.h"

/* How much of it is said. */
static __always_inline __u32 put_tuple(struct bpf_sock_tuple *tuple, const struct flow *flow, int ipv6)
{
	if (ipv6) {
		__builtin_memcpy(tuple->ipv6.saddr, &flow->source, sizeof(struct address));
		__builtin_memcpy(tuple->ipv6.daddr, &flow->destination, sizeof(struct address));
		tuple->ipv6.sport = flow->source_port;
		tuple->ipv6.dport = flow->destination_port;
		return sizeof(tuple->ipv6);
	}
	tuple->ipv4.saddr = flow->source.word[3];
	tuple->ipv4.daddr = flow->destination.word[3];
	tuple->ipv4.sport = flow->source_port;
	tuple->ipv4.dport = flow->destination_port;
	return sizeof(tuple->ipv4);
}

/* A function of its own: what it needs of the stack is needed in several places. */
static __noinline int is_connected(struct __sk_buff *skb, const struct flow *flow, int ipv6)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = put_tuple(&tuple, flow, ipv6);
	struct bpf_sock *socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	int connected;

	if (!socket)
		return 0;
	connected = socket->state != BPF_TCP_LISTEN;
	bpf_sk_release(socket);
	return connected;
}

/* Whether some process here would get such a packet. */
static __always_inline int is_received(struct __sk_buff *skb, const struct flow *flow, int ipv6)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = put_tuple(&tuple, flow, ipv6);
	struct bpf_sock *socket;

	if (flow->protocol == IPPROTO_TCP)
		socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		socket = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return 0;
	bpf_sk_release(socket);
	return 1;
}
#endif
