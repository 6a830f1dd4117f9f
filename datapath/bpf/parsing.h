/* A packet's flow, read by helpers that count from the network header: links with and without Ethernet are one. */
#ifndef TIDEGATE_PARSING_H
#define TIDEGATE_PARSING_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "intercept.h"
#include "maps.h"

#define EXTENSIONS 4 /* IPv6 extension headers that are looked into */
#define IPV4_OFFSET 0x1fff
#define IPV4_MORE 0x2000
#define IPV6_OFFSET 0xfff8
#define IPV6_MORE 0x0001

#define TCP_FLAGS 13 /* from the header's begin */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* How much of a packet is known. */
enum parsed {
	PARSED_NOT_IP,
	PARSED_MALFORMED,
	PARSED_ADDRESSES,  /* it has no ports */
	PARSED_FRAGMENT,   /* addresses; the fragment with its ports was not seen */
	PARSED_EXTENSIONS, /* addresses, and more headers than EXTENSIONS */
	PARSED_PORTS,
};

/* Who is at the other end of a link. A pod has its own addresses and no more. A stranger is at a bridge beside pods
 * without being known, as a pod that has just started: he has all addresses but those of somebody who is known.
 */
enum sender {
	ANYBODY,
	A_POD,
	A_STRANGER,
};

struct packet {
	struct flow flow;
	__u32 network;	 /* where its network header begins, from the packet's begin */
	__u32 transport; /* where its transport header begins, from the network header */
	__u8 ipv6;
	__u8 follows; /* a later fragment: its ports are known, and not in it */
	__u8 opens; /* the first segment of a TCP connection: SYN alone */
	__u8 flags; /* of TCP */
};

static __always_inline int read(const struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	return bpf_skb_load_bytes_relative(skb, offset, to, length, BPF_HDR_START_NET) == 0;
}

static __always_inline struct address mapped(__be32 ipv4)
{
	return (struct address){.word = {0, 0, bpf_htonl(0xffff), ipv4}};
}

static __always_inline int is_mapped(const struct address *address)
{
	return !address->word[0] && !address->word[1] && address->word[2] == bpf_htonl(0xffff);
}

static __always_inline int is_zero(const struct address *address)
{
	return !(address->word[0] | address->word[1] | address->word[2] | address->word[3]);
}

static __always_inline int is_link_local(const struct address *address)
{
	return (address->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline int same(const struct address *one, const struct address *other)
{
	return one->word[0] == other->word[0] && one->word[1] == other->word[1] && one->word[2] == other->word[2] &&
	       one->word[3] == other->word[3];
}

enum owner {
	NOBODY,
	THIS_LINK,
	ANOTHER,
};

static __always_inline enum owner owner_of(const struct __sk_buff *skb, const struct address *address)
{
	const struct workload *workload = bpf_map_lookup_elem(&workloads, address);

	if (workload)
		return workload->ifindex == skb->ifindex ? THIS_LINK : ANOTHER;
	if (bpf_map_lookup_elem(&node_addresses, address) || bpf_map_lookup_elem(&link_addresses, address))
		return ANOTHER;
	return NOBODY;
}

static __always_inline int may_have(enum owner owner, enum sender sender)
{
	return owner == THIS_LINK || (owner == NOBODY && sender == A_STRANGER);
}

/* IPv6 gives every link addresses of its own, to find neighbours from; of those, the node's are known. */
static __always_inline int is_source(const struct __sk_buff *skb, const struct packet *packet, enum sender sender)
{
	const struct address *source = &packet->flow.source;
	enum owner owner;

	if (sender == ANYBODY)
		return 1;
	owner = owner_of(skb, source);
	return may_have(owner, sender) || (owner == NOBODY && packet->flow.protocol == IPPROTO_ICMPV6 &&
					   packet->ipv6 && (is_link_local(source) || is_zero(source)));
}

static __always_inline struct flow reversed(const struct flow *flow)
{
	return (struct flow){
	    .source = flow->destination,
	    .destination = flow->source,
	    .source_port = flow->destination_port,
	    .destination_port = flow->source_port,
	    .protocol = flow->protocol,
	};
}

static __always_inline enum parsed parse_transport(const struct __sk_buff *skb, struct packet *packet)
{
	struct tcphdr tcp;
	struct udphdr udp;

	switch (packet->flow.protocol) {
	case IPPROTO_TCP:
		if (!read(skb, packet->transport, &tcp, sizeof(tcp)))
			return PARSED_MALFORMED;
		packet->flow.source_port = tcp.source;
		packet->flow.destination_port = tcp.dest;
		packet->flags = ((__u8 *)&tcp)[TCP_FLAGS];
		packet->opens = (packet->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) == TCP_SYN;
		return PARSED_PORTS;
	case IPPROTO_UDP:
		if (!read(skb, packet->transport, &udp, sizeof(udp)))
			return PARSED_MALFORMED;
		packet->flow.source_port = udp.source;
		packet->flow.destination_port = udp.dest;
		return PARSED_PORTS;
	default:
		return PARSED_ADDRESSES;
	}
}

/* The first fragment tells the others their ports; but not one of a pod in somebody else's name. */
static __always_inline enum parsed parse_fragment(const struct __sk_buff *skb, struct packet *packet,
						  enum sender sender, __u32 id, int first)
{
	struct fragment key = {
	    .source = packet->flow.source,
	    .destination = packet->flow.destination,
	    .id = id,
	    .protocol = packet->flow.protocol,
	};
	struct ports ports, *found;
	enum parsed parsed;

	if (first) {
		parsed = parse_transport(skb, packet);
		if (parsed != PARSED_PORTS || !is_source(skb, packet, sender))
			return parsed;
		ports.source = packet->flow.source_port;
		ports.destination = packet->flow.destination_port;
		bpf_map_update_elem(&fragments, &key, &ports, BPF_ANY);
		return PARSED_PORTS;
	}
	if (packet->flow.protocol != IPPROTO_TCP && packet->flow.protocol != IPPROTO_UDP)
		return PARSED_ADDRESSES;
	found = bpf_map_lookup_elem(&fragments, &key);
	if (!found)
		return PARSED_FRAGMENT;
	packet->follows = 1;
	packet->flow.source_port = found->source;
	packet->flow.destination_port = found->destination;
	return PARSED_PORTS;
}

static __always_inline enum parsed parse_ipv4(const struct __sk_buff *skb, struct packet *packet, enum sender sender)
{
	struct iphdr ip;

	if (!read(skb, 0, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return PARSED_MALFORMED;
	packet->flow.source = mapped(ip.saddr);
	packet->flow.destination = mapped(ip.daddr);
	packet->flow.protocol = ip.protocol;
	packet->transport = ip.ihl * 4;
	if (ip.frag_off & bpf_htons(IPV4_OFFSET | IPV4_MORE))
		return parse_fragment(skb, packet, sender, ip.id, !(ip.frag_off & bpf_htons(IPV4_OFFSET)));
	return parse_transport(skb, packet);
}

static __always_inline int is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS ||
	       protocol == IPPROTO_FRAGMENT;
}

static __always_inline enum parsed parse_extensions(const struct __sk_buff *skb, struct packet *packet,
						    enum sender sender)
{
	struct {
		__u8 next;
		__u8 length;
		__be16 offset;
		__u32 id;
	} extension; /* no extension header is shorter */

/* Unrolled: before Linux 6.9 the verifier refuses the loop that the compiler makes of it. */
#pragma unroll
	for (int i = 0; i < EXTENSIONS; i++) {
		__u8 is_fragment = packet->flow.protocol == IPPROTO_FRAGMENT;

		if (!is_extension(packet->flow.protocol))
			return parse_transport(skb, packet);
		if (!read(skb, packet->transport, &extension, sizeof(extension)))
			return PARSED_MALFORMED;
		packet->flow.protocol = extension.next;
		packet->transport += is_fragment ? 8 : (extension.length + 1) * 8;
		if (is_fragment && extension.offset & bpf_htons(IPV6_OFFSET | IPV6_MORE))
			return parse_fragment(skb, packet, sender, extension.id,
					      !(extension.offset & bpf_htons(IPV6_OFFSET)));
	}
	return is_extension(packet->flow.protocol) ? PARSED_EXTENSIONS : parse_transport(skb, packet);
}

static __always_inline enum parsed parse_ipv6(const struct __sk_buff *skb, struct packet *packet, enum sender sender)
{
	struct ipv6hdr ip;

	if (!read(skb, 0, &ip, sizeof(ip)) || ip.version != 6)
		return PARSED_MALFORMED;
	__builtin_memcpy(&packet->flow.source, &ip.saddr, sizeof(struct address));
	__builtin_memcpy(&packet->flow.destination, &ip.daddr, sizeof(struct address));
	packet->flow.protocol = ip.nexthdr;
	packet->transport = sizeof(ip);
	packet->ipv6 = 1;
	/* None of these may be on a link; as keys they would be an IPv4 address, and every address of the node. */
	if (is_mapped(&packet->flow.source) || is_mapped(&packet->flow.destination) ||
	    is_zero(&packet->flow.destination))
		return PARSED_MALFORMED;
	return parse_extensions(skb, packet, sender);
}

static __always_inline enum parsed parse(const struct __sk_buff *skb, struct packet *packet, enum sender sender)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(skb, packet, sender);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(skb, packet, sender);
	default:
		return PARSED_NOT_IP;
	}
}
#endif
