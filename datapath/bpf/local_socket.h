/* The sockets of this node's network namespace, as packets would find them. */
#ifndef TIDEGATE_LOCAL_SOCKET_H
#define TIDEGATE_LOCAL_SOCKET_H

#include <linux/bpf.h>

#include "maps.h"
#include "parsing.h"
#include "verdict.h"

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

/* Who has the connection of a packet. */
enum holder {
	HELD_BY_NOBODY,
	HELD_NO_MORE, /* in TIME_WAIT: who has its addresses and ports now may be somebody else */
	HELD_BY_PROCESS,
	HELD_BY_PROXY,
};

static __always_inline enum holder holder_by(struct bpf_sock *socket)
{
	struct bpf_sock *whole;
	__u32 mark;

	if (socket->state == BPF_TCP_LISTEN)
		return HELD_BY_NOBODY;
	if (socket->state == BPF_TCP_TIME_WAIT)
		return HELD_NO_MORE;
	whole = bpf_sk_fullsock(socket);
	if (!whole)
		return HELD_BY_PROCESS;
	mark = whole->mark & MARK_MASK;
	return mark == MARK_FROM_PROXY || mark == MARK_FROM_PROXY_AS ? HELD_BY_PROXY : HELD_BY_PROCESS;
}

/* A function of its own: what it needs of the stack is needed in several places. */
static __noinline int holder_of(struct __sk_buff *skb, const struct flow *flow, int ipv6)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = put_tuple(&tuple, flow, ipv6);
	__u32 *asks = bpf_map_lookup_elem(&asking, &only);
	enum holder holder = HELD_BY_NOBODY;
	struct bpf_sock *socket;

	if (asks)
		*asks = 1;
	socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (asks)
		*asks = 0;
	if (!socket)
		return HELD_BY_NOBODY;
	holder = holder_by(socket);
	bpf_sk_release(socket);
	return holder;
}

static __always_inline int is_connected(struct __sk_buff *skb, const struct flow *flow, int ipv6)
{
	return holder_of(skb, flow, ipv6) != HELD_BY_NOBODY;
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
