/* Publishes Envoy's sockets that listen at the capture port; the kernel removes each when it is closed. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "verdict.h"

#define AF_INET 2
#define AF_INET6 10

/* Its slots' begin, or -1 for one that is not the capture listener. */
static __always_inline int slots_of(const struct bpf_sock_ops *ops)
{
	if (ops->local_port != CAPTURE_PORT)
		return -1;
	if (ops->family == AF_INET) {
		__u32 address = ops->local_ip4;

		barrier(); /* the verifier wants each field of the context read by its own offset */
		return address == bpf_htonl(0x7f000001) ? 0 : -1;
	}
	if (ops->family != AF_INET6 || ops->local_ip6[0] || ops->local_ip6[1] || ops->local_ip6[2])
		return -1;
	return ops->local_ip6[3] == bpf_htonl(1) ? LISTENERS_PER_FAMILY : -1;
}

SEC("sockops")
int listen(struct bpf_sock_ops *ops)
{
	struct absence *absent;
	__u32 family;
	int first;

	if (ops->op != BPF_SOCK_OPS_TCP_LISTEN_CB)
		return 1;
	first = slots_of(ops);
	if (first < 0)
		return 1;
	family = first == LISTENERS_PER_FAMILY;
	absent = bpf_map_lookup_elem(&absence, &family);
#pragma unroll
	for (__u32 i = 0; i < LISTENERS_PER_FAMILY; i++) {
		__u32 slot = first + i;

		if (bpf_sock_map_update(ops, &listeners, &slot, BPF_NOEXIST))
			continue;
		if (absent)
			absent->since_ns = 0;
		count(LISTENER_PUBLISHED, LISTEN, 0);
		return 1;
	}
	count(LISTENERS_FULL, LISTEN, 0);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
