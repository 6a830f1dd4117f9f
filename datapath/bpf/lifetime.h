/* How a connection through this node comes to be, how it ends, and for how long it is kept in between.
 *
 * The kernel's own tracking of connections is not asked: it may be flushed, and it is not there for what we steer.
 */
#ifndef TIDEGATE_LIFETIME_H
#define TIDEGATE_LIFETIME_H

#include <stddef.h>

#include "choice.h"
#include "parsing.h"
#include "remembered.h"
#include "verdict.h"

#define FLOW_CLOSED (FLOW_CLIENT_CLOSED | FLOW_BACKEND_CLOSED)

/* How much may be acknowledged with the handshake: all that fits into a window without options. */
#define FIRST_WINDOW 0x10000

/* How far a segment that is believed may be ahead of what was acknowledged: there may be as much on its way. */
#define WINDOW 0x1000000

static __always_inline __u32 now_s(void)
{
	return bpf_ktime_get_ns() / NANOSECONDS;
}

/* Another CPU may write a later second than the one that is read here. */
static __always_inline __u32 since_s(__u32 then_s)
{
	__s32 since = now_s() - then_s;

	return since < 0 ? 0 : since;
}

/* Whether there may be a flow that is balanced here. Most nodes have none, and spare each packet the lookups for it. */
static __always_inline int is_balancing(void)
{
	const __u32 *last_s = bpf_map_lookup_elem(&balanced, &only);

	return last_s && *last_s && since_s(*last_s) <= SILENT_S;
}

static __always_inline void note_balanced(void)
{
	__u32 *last_s = bpf_map_lookup_elem(&balanced, &only);
	__u32 now = now_s();

	if (last_s && *last_s != now)
		*last_s = now;
}

static __always_inline __u32 life_s(const struct translation *entry, __u8 protocol)
{
	if ((entry->progress & FLOW_CLOSED) == FLOW_CLOSED)
		return FREED_S;
	if (!(entry->progress & FLOW_ESTABLISHED))
		return OPENING_S;
	if (protocol == IPPROTO_UDP)
		return DATAGRAMS_S;
	return entry->progress & FLOW_CLOSED ? HALF_CLOSED_S : SILENT_S;
}

static __always_inline int is_over(const struct translation *entry, __u8 protocol)
{
	return since_s(entry->seen_s) >= life_s(entry, protocol);
}

static __always_inline int is_closed(const struct translation *entry)
{
	return (entry->progress & FLOW_CLOSED) == FLOW_CLOSED;
}

/* What a segment says: of TCP, and of zero where it has none. */
struct numbers {
	__u32 sequence;
	__u32 acknowledged;
};

static __always_inline struct numbers numbers_of(const struct __sk_buff *skb, const struct packet *packet)
{
	struct numbers said;

	if (packet->flow.protocol != IPPROTO_TCP ||
	    !read(skb, packet->transport + offsetof(struct tcphdr, seq), &said, sizeof(said)))
		return (struct numbers){};
	return (struct numbers){bpf_ntohl(said.sequence), bpf_ntohl(said.acknowledged)};
}

/* What comes late says nothing new, and what is far ahead nobody can have got yet. */
static __always_inline void await(__u32 *awaited, const struct packet *packet, __u32 acknowledged)
{
	if (packet->flags & TCP_ACK && (!*awaited || acknowledged - *awaited < WINDOW))
		*awaited = acknowledged;
}

/* Who sends in the name of one side without being there does not know what the other one awaits, and ends nothing. */
static __always_inline __u8 closed_by(const struct packet *packet, __u32 sequence, __u32 awaited,
				      enum flow_progress side)
{
	if (awaited && sequence - awaited >= WINDOW)
		return 0;
	if (packet->flags & TCP_RST)
		return FLOW_CLOSED;
	return packet->flags & TCP_FIN ? side : 0;
}

/* Other CPUs look at it too: it is written where it changes. */
static __always_inline void note(struct translation *entry, __u8 progress)
{
	__u32 now = now_s();

	if (entry->progress != progress)
		entry->progress = progress;
	if (entry->seen_s != now)
		entry->seen_s = now;
}

/* Of UDP, whoever goes on has heard the answer. */
static __always_inline int is_acknowledged(const struct packet *packet, const struct translation *entry,
					   __u32 acknowledged)
{
	if (packet->flow.protocol == IPPROTO_UDP)
		return 1;
	return entry->of_backend && packet->flags & TCP_ACK && acknowledged - entry->of_backend < FIRST_WINDOW;
}

/* A packet of the client. What opens a connection again that was closed opens a new one; the backend, which has answered
 * before, may answer for the old one still (RFC 9293, 3.5.1).
 */
static __noinline int heard_client(const struct __sk_buff *skb, const struct packet *packet, struct translation *entry)
{
	struct numbers said = numbers_of(skb, packet);
	__u8 progress = entry->progress;

	if (packet->opens && is_closed(entry)) {
		progress &= FLOW_REPLIED;
		entry->of_backend = entry->of_client = 0;
	}
	if ((progress & (FLOW_REPLIED | FLOW_ESTABLISHED)) == FLOW_REPLIED &&
	    is_acknowledged(packet, entry, said.acknowledged))
		progress |= FLOW_ESTABLISHED;
	if (progress & FLOW_ESTABLISHED)
		await(&entry->of_backend, packet, said.acknowledged);
	note(entry, progress | closed_by(packet, said.sequence, entry->of_client, FLOW_CLIENT_CLOSED));
	return 0;
}

/* Of TCP: what accepts a connection, or refuses it, which is from the number zero (RFC 9293, 3.5.2). */
static __noinline int answers_opening(const struct __sk_buff *skb, const struct packet *packet)
{
	switch (packet->flags & (TCP_SYN | TCP_RST | TCP_ACK)) {
	case TCP_SYN | TCP_ACK:
		return 1;
	case TCP_RST | TCP_ACK:
		return !numbers_of(skb, packet).sequence;
	default:
		return 0;
	}
}

/* A packet of the backend. */
static __noinline int heard_backend(const struct __sk_buff *skb, const struct packet *packet, struct translation *entry)
{
	struct numbers said = numbers_of(skb, packet);
	__u8 progress = entry->progress;

	if (packet->flow.protocol == IPPROTO_UDP) {
		progress |= FLOW_REPLIED;
	} else if (!(progress & FLOW_ESTABLISHED) &&
		   (packet->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK)) {
		progress |= FLOW_REPLIED;
		entry->of_backend = said.sequence + 1;
		entry->of_client = said.acknowledged;
	}
	await(&entry->of_client, packet, said.acknowledged);
	note(entry, progress | closed_by(packet, said.sequence, entry->of_backend, FLOW_BACKEND_CLOSED));
	return 0;
}
#endif
