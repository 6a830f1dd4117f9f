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

#define EXTENSIONS 4 /* IPv6 extension headers that are looked into */
#define IPV4_FRAGMENT 0x3fff /* more fragments, or an offset */
#define IPV6_FRAGMENT 0xfff9

/* How much of a packet is known. */
enum parsed {
	PARSED_NOT_IP,
	PARSED_MALFORMED,
	PARSED_ADDRESSES,  /* it has no ports, or they are not looked at */
	PARSED_FRAGMENT,   /* addresses */
	PARSED_EXTENSIONS, /* addresses, and more headers than EXTENSIONS */
	PARSED_PORTS,
};

struct packet {
	struct flow flow;
	__u32 transport; /* where its header begins, from the network header */
	__u8 opens;	 /* the first segment of a TCP connection: SYN without ACK */
	__u8 resets;
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
		packet->opens = tcp.syn && !tcp.ack;
		packet->resets = tcp.rst;
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

static __always_inline enum parsed parse_ipv4(const struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr ip;

	if (!read(skb, 0, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return PARSED_MALFORMED;
	packet->flow.source = mapped(ip.saddr);
	packet->flow.destination = mapped(ip.daddr);
	packet->flow.protocol = ip.protocol;
	packet->transport = ip.ihl * 4;
	if (ip.frag_off & bpf_htons(IPV4_FRAGMENT))
		return PARSED_FRAGMENT;
	return parse_transport(skb, packet);
}

static __always_inline enum parsed parse_ipv6(const struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6hdr ip;
	struct {
		__u8 next;
		__u8 length;
		__be16 fragment;
	} extension;

	if (!read(skb, 0, &ip, sizeof(ip)) || ip.version != 6)
		return PARSED_MALFORMED;
	__builtin_memcpy(&packet->flow.source, &ip.saddr, sizeof(struct address));
	__builtin_memcpy(&packet->flow.destination, &ip.daddr, sizeof(struct address));
	packet->flow.protocol = ip.nexthdr;
	packet->transport = sizeof(ip);
	/* Neither may be on a link; as keys they would be an IPv4 address, and every address of the node. */
	if (is_mapped(&packet->flow.source) || is_mapped(&packet->flow.destination) ||
	    is_zero(&packet->flow.destination))
		return PARSED_MALFORMED;
	for (int i = 0; i <= EXTENSIONS; i++) {
		switch (packet->flow.protocol) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
			break;
		default:
			return parse_transport(skb, packet);
		}
		if (i == EXTENSIONS)
			break;
		if (!read(skb, packet->transport, &extension, sizeof(extension)))
			return PARSED_MALFORMED;
		if (packet->flow.protocol == IPPROTO_FRAGMENT) {
			packet->flow.protocol = extension.next;
			if (extension.fragment & bpf_htons(IPV6_FRAGMENT))
				return PARSED_FRAGMENT;
			packet->transport += 8;
			continue;
		}
		packet->flow.protocol = extension.next;
		packet->transport += (extension.length + 1) * 8;
	}
	return PARSED_EXTENSIONS;
}

static __always_inline enum parsed parse(const struct __sk_buff *skb, struct packet *packet)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return parse_ipv4(skb, packet);
	case bpf_htons(ETH_P_IPV6):
		return parse_ipv6(skb, packet);
	default:
		return PARSED_NOT_IP;
	}
}
#endif
