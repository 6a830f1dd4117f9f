/* A pod that is its own backend, reached from its own address: it sees a stand-in for it, whose replies are Envoy's.
 *
 * Both directions follow from the packet alone: the pod's own address is the only one that a pod's link has.
 */
#ifndef TIDEGATE_ITSELF_H
#define TIDEGATE_ITSELF_H

#include "parsing.h"

static __always_inline struct address itself(int ipv6)
{
	if (!ipv6)
		return mapped(bpf_htonl(SELF_IPV4));
	return (struct address){.word = {bpf_htonl(SELF_IPV6_WORD0), bpf_htonl(SELF_IPV6_WORD1), 0,
					 bpf_htonl(SELF_IPV6_WORD3)}};
}

static __always_inline int is_from_itself(const struct packet *packet)
{
	return packet->flow.protocol == IPPROTO_TCP && same(&packet->flow.source, &packet->flow.destination);
}

static __always_inline int is_to_itself(const struct packet *packet)
{
	struct address stand_in = itself(packet->ipv6);

	return packet->flow.protocol == IPPROTO_TCP && same(&packet->flow.destination, &stand_in);
}
#endif
