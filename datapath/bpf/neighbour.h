/* Who asks on a link for an address that this node has there is answered, by ARP and by Neighbour Discovery.
 *
 * There is no other answer while the daemon is away. So an address is given up here, too: the newest node to say that
 * it has the address is right, since it says so when it takes it over.
 */
#ifndef TIDEGATE_NEIGHBOUR_H
#define TIDEGATE_NEIGHBOUR_H

#include "parsing.h"
#include "verdict.h"

/* linux/if_arp.h needs a C library for the target. */
#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

#define MAC 6
#define ETHERNET_IPV4 4 /* the length of an address */

#define ND_ROUTER 134
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136
#define ND_REDIRECT 137
#define ND_HOP_LIMIT 255
#define ND_SOLICITED 0x40000000
#define ND_OVERRIDE 0x20000000
#define ND_TARGET_MAC 2 /* an option, of one unit of 8 bytes */

struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender_mac[MAC];
	__be32 sender;
	__u8 target_mac[MAC];
	__be32 target;
} __attribute__((packed));

struct ethernet {
	__u8 destination[MAC];
	__u8 source[MAC];
	__be16 protocol;
} __attribute__((packed));

/* Of a solicitation and of an advertisement, with the one option that an answer has. */
struct discovery {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 flags;
	struct address target;
	__u8 option;
	__u8 option_units;
	__u8 mac[MAC];
};

struct advertisement {
	struct ipv6hdr ip;
	struct discovery discovery;
};

struct arp_frame {
	struct ethernet ethernet;
	struct arp arp;
} __attribute__((packed));

static __always_inline int is_of_ipv4(const struct arp *arp)
{
	return arp->hardware == bpf_htons(ARPHRD_ETHER) && arp->protocol == bpf_htons(ETH_P_IP) &&
	       arp->hardware_length == MAC && arp->protocol_length == ETHERNET_IPV4;
}

static __always_inline const struct answer *answer_for(const struct __sk_buff *skb, const struct address *address)
{
	struct answer_key key = {.address = *address, .ifindex = skb->ifindex};

	return bpf_map_lookup_elem(&answers, &key);
}

static __always_inline int is_of_this_node(const __u8 *octets)
{
	struct mac mac = {};

	__builtin_memcpy(mac.octets, octets, MAC);
	return bpf_map_lookup_elem(&own_macs, &mac) != NULL;
}

static __always_inline struct verdict yield_to(const struct __sk_buff *skb, const struct address *address)
{
	struct answer_key key = {.address = *address, .ifindex = skb->ifindex};

	bpf_map_delete_elem(&answers, &key);
	return (struct verdict){TC_ACT_UNSPEC, NEIGHBOUR_YIELDED};
}

static __always_inline struct verdict send_back(const struct __sk_buff *skb)
{
	return (struct verdict){bpf_redirect(skb->ifindex, 0), NEIGHBOUR_ANSWERED};
}

static __always_inline struct verdict answer_arp(struct __sk_buff *skb)
{
	struct verdict none = {TC_ACT_UNSPEC, PASS_NOT_IP};
	const struct answer *own;
	struct arp_frame frame;
	struct address address;
	__be32 target;

	if (bpf_skb_load_bytes(skb, 0, &frame, sizeof(frame)) || !is_of_ipv4(&frame.arp))
		return none;
	address = mapped(frame.arp.sender);
	own = answer_for(skb, &address);
	if (own)
		return is_of_this_node(frame.arp.sender_mac) ? none : yield_to(skb, &address);
	target = frame.arp.target;
	address = mapped(target);
	own = answer_for(skb, &address);
	if (!own || frame.arp.operation != bpf_htons(ARPOP_REQUEST))
		return none;
	frame.arp.operation = bpf_htons(ARPOP_REPLY);
	frame.arp.target = frame.arp.sender;
	frame.arp.sender = target;
	__builtin_memcpy(frame.arp.target_mac, frame.arp.sender_mac, MAC);
	__builtin_memcpy(frame.arp.sender_mac, own->mac, MAC);
	__builtin_memcpy(frame.ethernet.destination, frame.arp.target_mac, MAC);
	__builtin_memcpy(frame.ethernet.source, own->mac, MAC);
	return bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0) ? none : send_back(skb);
}

static __always_inline __sum16 folded(__s64 sum)
{
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Who has no address yet and asks whether it may take this one is told on the group of all nodes. */
static __always_inline void address_to(struct ethernet *ethernet, struct advertisement *answer,
				       const struct ipv6hdr *asking)
{
	static const __u8 all_nodes_mac[MAC] = {0x33, 0x33, 0, 0, 0, 1};
	struct address source, all_nodes = {.word = {bpf_htonl(0xff020000), 0, 0, bpf_htonl(1)}};

	__builtin_memcpy(&source, &asking->saddr, sizeof(source));
	if (is_zero(&source)) {
		__builtin_memcpy(&answer->ip.daddr, &all_nodes, sizeof(all_nodes));
		__builtin_memcpy(ethernet->destination, all_nodes_mac, MAC);
		answer->discovery.flags = bpf_htonl(ND_OVERRIDE);
		return;
	}
	__builtin_memcpy(&answer->ip.daddr, &source, sizeof(source));
	__builtin_memcpy(ethernet->destination, ethernet->source, MAC);
	answer->discovery.flags = bpf_htonl(ND_OVERRIDE | ND_SOLICITED);
}

static __always_inline struct verdict advertise(struct __sk_buff *skb, const struct address *target,
						const struct answer *own)
{
	struct verdict none = {TC_ACT_UNSPEC, PASS_NO_PORTS};
	struct advertisement answer = {};
	struct ethernet ethernet;
	struct ipv6hdr asking;
	struct {
		struct address source;
		struct address destination;
		__be32 length;
		__be32 next;
	} pseudo = {.source = *target, .length = bpf_htonl(sizeof(answer.discovery)), .next = bpf_htonl(IPPROTO_ICMPV6)};
	__s64 sum;

	if (bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)) || !read(skb, 0, &asking, sizeof(asking)))
		return none;
	answer.ip.version = 6;
	answer.ip.payload_len = bpf_htons(sizeof(answer.discovery));
	answer.ip.nexthdr = IPPROTO_ICMPV6;
	answer.ip.hop_limit = ND_HOP_LIMIT;
	__builtin_memcpy(&answer.ip.saddr, target, sizeof(*target));
	answer.discovery.type = ND_ADVERTISEMENT;
	answer.discovery.target = *target;
	answer.discovery.option = ND_TARGET_MAC;
	answer.discovery.option_units = 1;
	__builtin_memcpy(answer.discovery.mac, own->mac, MAC);
	address_to(&ethernet, &answer, &asking);
	__builtin_memcpy(ethernet.source, own->mac, MAC);
	__builtin_memcpy(&pseudo.destination, &answer.ip.daddr, sizeof(pseudo.destination));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&answer.discovery, sizeof(answer.discovery), sum);
	answer.discovery.checksum = folded(sum);
	if (bpf_skb_change_tail(skb, sizeof(ethernet) + sizeof(answer), 0) ||
	    bpf_skb_store_bytes(skb, 0, &ethernet, sizeof(ethernet), 0) ||
	    bpf_skb_store_bytes(skb, sizeof(ethernet), &answer, sizeof(answer), 0))
		return (struct verdict){TC_ACT_SHOT, DROP_MALFORMED};
	return send_back(skb);
}

/* Of a packet of ICMPv6, which is directly after the header of IPv6. */
static __always_inline struct verdict answer_discovery(struct __sk_buff *skb, const struct packet *packet)
{
	struct verdict none = {TC_ACT_UNSPEC, PASS_NO_PORTS};
	struct ethernet ethernet;
	struct discovery found; /* its option may not be there */
	const struct answer *own;
	__u8 hop_limit;

	if (!read(skb, offsetof(struct ipv6hdr, hop_limit), &hop_limit, sizeof(hop_limit)) ||
	    hop_limit != ND_HOP_LIMIT || !read(skb, packet->transport, &found, offsetof(struct discovery, option)))
		return none;
	own = answer_for(skb, &found.target);
	if (!own || found.code)
		return none;
	if (found.type == ND_SOLICITATION)
		return advertise(skb, &found.target, own);
	if (found.type != ND_ADVERTISEMENT || bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)) ||
	    is_of_this_node(ethernet.source))
		return none;
	return yield_to(skb, &found.target);
}

/* Whether the packet is of neighbours; `verdict` then says what becomes of it. */
static __noinline int is_of_neighbours(struct __sk_buff *skb, const struct packet *packet, enum parsed parsed,
				       struct verdict *verdict)
{
	if (skb->protocol == bpf_htons(ETH_P_ARP)) {
		*verdict = answer_arp(skb);
		return 1;
	}
	if (parsed != PARSED_ADDRESSES || packet->flow.protocol != IPPROTO_ICMPV6 || !packet->ipv6)
		return 0;
	*verdict = answer_discovery(skb, packet);
	return verdict->reason != PASS_NO_PORTS;
}
#endif
