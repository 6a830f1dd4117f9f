/* The packet that an ICMP error is about: of a connection of Envoy, it is Envoy's to know. */
#ifndef TIDEGATE_ICMP_H
#define TIDEGATE_ICMP_H

#include "parsing.h"

/* linux/icmp.h needs a C library for the target. */
#define ICMP_UNREACHABLE 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMPV6_INFORMATIONAL 0x80 /* and above */

#define ICMP_HEADER 8 /* of both, before the packet */
#define ICMP_CHECK 2

static __always_inline int is_error(const struct packet *packet, __u8 type)
{
	if (packet->ipv6)
		return type < ICMPV6_INFORMATIONAL;
	return type == ICMP_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

/* A router sends as much of it as it likes: its first 8 bytes, which have the ports, are all that is read. */
static __always_inline int about_ports(const struct __sk_buff *skb, __u32 offset, struct flow *about)
{
	struct ports ports;

	if ((about->protocol != IPPROTO_TCP && about->protocol != IPPROTO_UDP) || !read(skb, offset, &ports, sizeof(ports)))
		return 0;
	about->source_port = ports.source;
	about->destination_port = ports.destination;
	return 1;
}

/* Whether a packet is such an error, about what who gets it has sent by TCP or UDP. */
static __always_inline int parse_error(const struct __sk_buff *skb, const struct packet *packet, struct flow *about)
{
	__u32 inner = packet->transport + ICMP_HEADER;
	struct ipv6hdr ip6;
	struct iphdr ip;
	__u8 type;

	if (packet->flow.protocol != (packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ||
	    !read(skb, packet->transport, &type, sizeof(type)) || !is_error(packet, type))
		return 0;
	if (packet->ipv6) {
		if (!read(skb, inner, &ip6, sizeof(ip6)))
			return 0;
		__builtin_memcpy(&about->source, &ip6.saddr, sizeof(struct address));
		__builtin_memcpy(&about->destination, &ip6.daddr, sizeof(struct address));
		about->protocol = ip6.nexthdr;
		return same(&about->source, &packet->flow.destination) && about_ports(skb, inner + sizeof(ip6), about);
	}
	if (!read(skb, inner, &ip, sizeof(ip)) || ip.frag_off & bpf_htons(IPV4_OFFSET))
		return 0;
	about->source = mapped(ip.saddr);
	about->destination = mapped(ip.daddr);
	about->protocol = ip.protocol;
	return same(&about->source, &packet->flow.destination) && about_ports(skb, inner + ip.ihl * 4, about);
}
#endif
