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

/* `network` is where the network header begins in the packet. */
static __always_inline struct verdict l4_balance(struct __sk_buff *skb, const struct packet *packet,
						 const struct service *service, __u32 network)
{
	return (struct verdict){TC_ACT_UNSPEC, PASS_NO_BACKEND};
}
#endif
