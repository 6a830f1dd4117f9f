/* Whether Envoy is there, and what becomes of a connection where it is not: decided here, and nowhere else. */
#ifndef TIDEGATE_PROXY_H
#define TIDEGATE_PROXY_H

#include "maps.h"
#include "verdict.h"

static __always_inline __u32 first_listener(int ipv6)
{
	return ipv6 ? LISTENERS_PER_FAMILY : 0;
}

/* A socket leaves the map when it is closed, whatever became of its process. */
static __always_inline int is_listening(int ipv6)
{
#pragma unroll
	for (__u32 i = 0; i < LISTENERS_PER_FAMILY; i++) {
		__u32 slot = first_listener(ipv6) + i;
		struct bpf_sock *socket = bpf_map_lookup_elem(&listeners, &slot);

		if (!socket)
			continue;
		bpf_sk_release(socket);
		return 1;
	}
	return 0;
}

static __always_inline void present(int ipv6)
{
	__u32 family = !!ipv6;
	struct absence *absent = bpf_map_lookup_elem(&absence, &family);

	if (absent && absent->since_ns)
		absent->since_ns = 0;
}

/* Whether Envoy has been away for longer than a restart takes. */
static __always_inline int is_given_up(int ipv6)
{
	__u32 family = !!ipv6;
	struct absence *absent = bpf_map_lookup_elem(&absence, &family);
	__u64 now_ns = bpf_ktime_get_ns();

	if (!absent)
		return 1;
	if (!absent->since_ns)
		absent->since_ns = now_ns;
	return now_ns - absent->since_ns >= PATIENCE_NS;
}

enum availability {
	PROXY_SERVES,
	PROXY_BALANCED, /* the kernel chooses a backend instead */
	PROXY_AWAITED,	/* dropped: the client tries again */
	PROXY_GIVEN_UP, /* refused */
};

/* For a new connection. What was established keeps what it has. */
static __always_inline enum availability availability(const struct service *service, int ipv6)
{
	if (is_listening(ipv6)) {
		present(ipv6);
		return PROXY_SERVES;
	}
	if (service->flags & SERVICE_FAIL_OPEN)
		return PROXY_BALANCED;
	return is_given_up(ipv6) ? PROXY_GIVEN_UP : PROXY_AWAITED;
}
#endif
