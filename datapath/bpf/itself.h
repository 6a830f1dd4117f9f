/* A pod that is its own backend, reached from its own address: it sees a stand-in for it, whose replies are Envoy's.
 *
 * Both directions follow from the packet alone: the pod's own address is the only one that a pod's link has.
 */
#ifndef TIDEGATE_ITSELF_H
#define TIDEGATE_ITSELF_H

#include <stddef.h>

#include "parsing.h"

#define TCP_CHECK offsetof(struct tcphdr, check)

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

/* Another address in the network header, at `offset` in it; the checksums follow. */
static __always_inline int readdress(struct __sk_buff *skb, const struct packet *packet, __u32 offset,
				     const struct address *from, const struct address *to)
{
	__u32 check = packet->network + packet->transport + TCP_CHECK;

	if (packet->ipv6) {
		__s64 difference = bpf_csum_diff((__be32 *)from, sizeof(*from), (__be32 *)to, sizeof(*to), 0);

		return bpf_l4_csum_replace(skb, check, 0, difference, BPF_F_PSEUDO_HDR) == 0 &&
		       bpf_skb_store_bytes(skb, packet->network + offset, to, sizeof(*to), 0) == 0;
	}
	return bpf_l4_csum_replace(skb, check, from->word[3], to->word[3], BPF_F_PSEUDO_HDR | 4) == 0 &&
	       bpf_l3_csum_replace(skb, packet->network + offsetof(struct iphdr, check), from->word[3], to->word[3],
				   4) == 0 &&
	       bpf_skb_store_bytes(skb, packet->network + offset, &to->word[3], sizeof(__be32), 0) == 0;
}

static __always_inline int source_at(const struct packet *packet)
{
	return packet->ipv6 ? offsetof(struct ipv6hdr, saddr) : offsetof(struct iphdr, saddr);
}

static __always_inline int destination_at(const struct packet *packet)
{
	return packet->ipv6 ? offsetof(struct ipv6hdr, daddr) : offsetof(struct iphdr, daddr);
}
#endif
