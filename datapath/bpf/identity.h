/* Whose a packet is, by the link that it comes from: who sends from another's address, or tells his neighbours of one
 * that he may not have, is no one.
 */
#ifndef TIDEGATE_IDENTITY_H
#define TIDEGATE_IDENTITY_H

#include "neighbour.h"
#include "parsing.h"

/* Linux takes more for ARP than we know, as another number for the same hardware: of that nothing is said at all. Who
 * looks whether an address is free has none to say.
 */
static __always_inline int is_false_arp(const struct __sk_buff *skb, enum sender sender)
{
	struct address said;
	struct arp arp;

	if (!read(skb, 0, &arp, sizeof(arp)) || !is_of_ipv4(&arp))
		return 1;
	if (!arp.sender)
		return 0;
	said = mapped(arp.sender);
	return !may_have(owner_of(skb, &said), sender);
}

/* Of a packet of ICMPv6. Nobody at a bridge or a link of ours is a router, whatever he says. */
static __noinline int is_false_discovery(struct __sk_buff *skb, const struct packet *packet, enum sender sender)
{
	__u8 hop_limit, type;
	struct address target;
	enum owner owner;

	if (!read(skb, offsetof(struct ipv6hdr, hop_limit), &hop_limit, sizeof(hop_limit)) ||
	    hop_limit != ND_HOP_LIMIT || !read(skb, packet->transport, &type, sizeof(type)))
		return 0;
	if (type == ND_ROUTER || type == ND_REDIRECT)
		return 1;
	if (type != ND_ADVERTISEMENT && (type != ND_SOLICITATION || !is_zero(&packet->flow.source)))
		return 0;
	if (!read(skb, packet->transport + offsetof(struct discovery, target), &target, sizeof(target)))
		return 0;
	owner = owner_of(skb, &target);
	return !may_have(owner, sender) && !(owner == NOBODY && is_link_local(&target));
}

/* Whether a packet says that it is of somebody who is not there; it is whole. */
static __always_inline int is_forged(struct __sk_buff *skb, const struct packet *packet, enum parsed parsed,
				     enum sender sender)
{
	if (parsed == PARSED_NOT_IP)
		return skb->protocol == bpf_htons(ETH_P_ARP) && is_false_arp(skb, sender);
	if (!is_source(skb, packet, sender))
		return 1;
	return packet->ipv6 && packet->flow.protocol == IPPROTO_ICMPV6 && is_false_discovery(skb, packet, sender);
}
#endif
