/* Backends chosen in the kernel, for packets whose sender's socket did not choose one. */
#ifndef TIDEGATE_L4_H
#define TIDEGATE_L4_H

#include "parsing.h"
#include "service.h"
#include "verdict.h"

/* A verdict of TC, and why. */
struct verdict {
	int action;
	enum reason reason;
};

/* A new flow to a service, or a datagram. `network` is where the network header begins in the packet. */
static __always_inline struct verdict l4_balance(struct __sk_buff *skb, const struct packet *packet,
						 const struct service *service, __u32 network)
{
	return (struct verdict){TC_ACT_UNSPEC, PASS_NO_BACKEND};
}

/* Whether a packet is of a flow that `l4_balance` has seen, in either direction: then it is dealt with here. */
static __always_inline int l4_continue(struct __sk_buff *skb, const struct packet *packet, enum direction direction,
				       struct verdict *verdict)
{
	return 0;
}
#endif
