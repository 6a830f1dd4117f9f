/* Other addresses and ports in a packet, whose checksums follow; and in what an ICMP error quotes of one. */
#ifndef TIDEGATE_REWRITING_H
#define TIDEGATE_REWRITING_H

#include <stddef.h>

#include <linux/pkt_cls.h>

#include "icmp.h"
#include "parsing.h"
#include "verdict.h"

enum end {
	SOURCE,
	DESTINATION,
};

static __always_inline __u32 address_at(const struct packet *packet, enum end end)
{
	if (packet->ipv6)
		return end == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr);
	return end == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr);
}

/* A datagram without a checksum stays without one. */
static __always_inline __u64 if_any(const struct packet *packet)
{
	return packet->flow.protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

static __always_inline __u32 check_at(const struct packet *packet)
{
	return packet->network + packet->transport +
	       (packet->flow.protocol == IPPROTO_UDP ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
}

static __always_inline long put_port(struct __sk_buff *skb, const struct packet *packet, enum end end, __be16 port)
{
	__be16 had = end == SOURCE ? packet->flow.source_port : packet->flow.destination_port;
	__u32 at = packet->network + packet->transport + (end == SOURCE ? 0 : sizeof(port));

	return bpf_l4_csum_replace(skb, check_at(packet), had, port, sizeof(port) | if_any(packet)) ||
	       bpf_skb_store_bytes(skb, at, &port, sizeof(port), 0);
}

/* The transport's checksum has the address in it, except in what follows the first fragment. */
static __always_inline long put_ipv4(struct __sk_buff *skb, const struct packet *packet, enum end end, __be32 address)
{
	__be32 had = end == SOURCE ? packet->flow.source.word[3] : packet->flow.destination.word[3];
	__u64 flags = BPF_F_PSEUDO_HDR | sizeof(address) | if_any(packet);

	if (!packet->follows && bpf_l4_csum_replace(skb, check_at(packet), had, address, flags))
		return -1;
	return bpf_l3_csum_replace(skb, packet->network + offsetof(struct iphdr, check), had, address,
				   sizeof(address)) ||
	       bpf_skb_store_bytes(skb, packet->network + address_at(packet, end), &address, sizeof(address), 0);
}

/* The network header has no checksum that would make up for the address in a sum over the whole packet, which the link
 * may have brought along: hence BPF_F_RECOMPUTE_CSUM. */
static __always_inline long put_ipv6(struct __sk_buff *skb, const struct packet *packet, enum end end,
				     const struct address *address)
{
	const struct address *had = end == SOURCE ? &packet->flow.source : &packet->flow.destination;
	__s64 difference = bpf_csum_diff((__be32 *)had, sizeof(*had), (__be32 *)address, sizeof(*address), 0);

	if (!packet->follows &&
	    bpf_l4_csum_replace(skb, check_at(packet), 0, difference, BPF_F_PSEUDO_HDR | if_any(packet)))
		return -1;
	return bpf_skb_store_bytes(skb, packet->network + address_at(packet, end), address, sizeof(*address),
				   BPF_F_RECOMPUTE_CSUM);
}

static __always_inline struct verdict translate(struct __sk_buff *skb, const struct packet *packet, enum end end,
						const struct address *address, __be16 port, enum reason reason)
{
	long failed = packet->ipv6 ? put_ipv6(skb, packet, end, address)
				   : put_ipv4(skb, packet, end, address->word[3]);

	if (!failed && !packet->follows)
		failed = put_port(skb, packet, end, port);
	if (failed)
		return (struct verdict){TC_ACT_SHOT, DROP_MALFORMED};
	return (struct verdict){TC_ACT_UNSPEC, reason};
}

static __always_inline __u32 quoted_at(const struct packet *packet)
{
	return packet->network + packet->transport + ICMP_HEADER;
}

/* The checksum of an error covers what it quotes, where the network header of IPv4 makes up for its addresses itself. */
static __always_inline long put_quoted_address(struct __sk_buff *skb, const struct packet *packet, enum end end,
					       const struct address *had, const struct address *address)
{
	__u32 check = packet->network + packet->transport + ICMP_CHECK;
	__u32 at = quoted_at(packet) + address_at(packet, end);
	__s64 difference;

	if (!packet->ipv6)
		return bpf_l3_csum_replace(skb, quoted_at(packet) + offsetof(struct iphdr, check), had->word[3],
					   address->word[3], sizeof(__be32)) ||
		       bpf_skb_store_bytes(skb, at, &address->word[3], sizeof(__be32), 0);
	difference = bpf_csum_diff((__be32 *)had, sizeof(*had), (__be32 *)address, sizeof(*address), 0);
	return bpf_l4_csum_replace(skb, check, 0, difference, 0) ||
	       bpf_skb_store_bytes(skb, at, address, sizeof(*address), 0);
}

static __always_inline long put_quoted_port(struct __sk_buff *skb, const struct packet *packet, enum end end,
					    __be16 had, __be16 port)
{
	__u32 check = packet->network + packet->transport + ICMP_CHECK, length = sizeof(struct ipv6hdr);
	__u8 words;

	if (!packet->ipv6) {
		if (!read(skb, packet->transport + ICMP_HEADER, &words, sizeof(words)))
			return -1;
		length = (words & 0xf) * 4;
	}
	return bpf_l4_csum_replace(skb, check, had, port, sizeof(port)) ||
	       bpf_skb_store_bytes(skb, quoted_at(packet) + length + (end == SOURCE ? 0 : sizeof(port)), &port,
				   sizeof(port), 0);
}

static __always_inline long put_receiver(struct __sk_buff *skb, const struct packet *packet,
					 const struct address *address)
{
	const struct address *had = &packet->flow.destination;
	__u32 at = packet->network + address_at(packet, DESTINATION);
	__s64 difference;

	if (!packet->ipv6)
		return bpf_l3_csum_replace(skb, packet->network + offsetof(struct iphdr, check), had->word[3],
					   address->word[3], sizeof(__be32)) ||
		       bpf_skb_store_bytes(skb, at, &address->word[3], sizeof(__be32), 0);
	difference = bpf_csum_diff((__be32 *)had, sizeof(*had), (__be32 *)address, sizeof(*address), 0);
	return bpf_l4_csum_replace(skb, packet->network + packet->transport + ICMP_CHECK, 0, difference,
				   BPF_F_PSEUDO_HDR) ||
	       bpf_skb_store_bytes(skb, at, address, sizeof(*address), BPF_F_RECOMPUTE_CSUM);
}
#endif
