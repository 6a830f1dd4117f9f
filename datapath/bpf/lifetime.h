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

static __always_inline __u32 now_s(void)
{
	return bpf_ktime_get_ns() / NANOSECONDS;
}

/* Whether there may be a flow that is balanced here. Most nodes have none, and spare each packet the lookups for it. */
static __always_inline int is_balancing(void)
{
	const __u32 *last_s = bpf_map_lookup_elem(&balanced, &only);

	return last_s && *last_s && now_s() - *last_s <= SILENT_S;
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
		return CLOSED_S;
	if (!(entry->progress & FLOW_ESTABLISHED))
		return OPENING_S;
	if (protocol == IPPROTO_UDP)
		return DATAGRAMS_S;
	return entry->progress & FLOW_CLOSED ? HALF_CLOSED_S : SILENT_S;
}

/* Another CPU may write a later second than the one that is read here. */
static __always_inline __u32 idle_s(const struct translation *entry)
{
	__s32 idle = now_s() - entry->seen_s;

	return idle < 0 ? 0 : idle;
}

static __always_inline int is_over(const struct translation *entry, __u8 protocol)
{
	return idle_s(entry) >= life_s(entry, protocol);
}

static __always_inline __u8 closed_by(const struct packet *packet, enum flow_progress side)
{
	if (packet->flags & TCP_RST)
		return FLOW_CLOSED;
	return packet->flags & TCP_FIN ? side : 0;
}

/* Of UDP, whoever goes on has heard the answer. */
static __always_inline int acknowledges(const struct __sk_buff *skb, const struct packet *packet, __u32 awaited)
{
	__be32 acknowledged;

	if (packet->flow.protocol == IPPROTO_UDP)
		return 1;
	return (packet->flags & TCP_ACK) &&
	       read(skb, packet->transport + offsetof(struct tcphdr, ack_seq), &acknowledged, sizeof(acknowledged)) &&
	       bpf_ntohl(acknowledged) - awaited < FIRST_WINDOW;
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

/* A packet of the client. What opens a connection again that was closed opens a new one. */
static __noinline int heard_client(const struct __sk_buff *skb, const struct packet *packet, struct translation *entry)
{
	__u8 progress = entry->progress;

	if (packet->opens && (progress & FLOW_CLOSED) == FLOW_CLOSED)
		progress = 0;
	if ((progress & (FLOW_REPLIED | FLOW_ESTABLISHED)) == FLOW_REPLIED && acknowledges(skb, packet, entry->awaited))
		progress |= FLOW_ESTABLISHED;
	note(entry, progress | closed_by(packet, FLOW_CLIENT_CLOSED));
	return 0;
}

static __always_inline int is_answer(const struct __sk_buff *skb, const struct packet *packet, __u32 *awaited)
{
	__be32 sequence;

	if (packet->flow.protocol == IPPROTO_UDP)
		return 1;
	if ((packet->flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK) ||
	    !read(skb, packet->transport + offsetof(struct tcphdr, seq), &sequence, sizeof(sequence)))
		return 0;
	*awaited = bpf_ntohl(sequence) + 1;
	return 1;
}

/* A packet of the backend. */
static __noinline int heard_backend(const struct __sk_buff *skb, const struct packet *packet, struct translation *entry)
{
	__u8 progress = entry->progress;

	if (!(progress & FLOW_ESTABLISHED) && is_answer(skb, packet, &entry->awaited))
		progress |= FLOW_REPLIED;
	note(entry, progress | closed_by(packet, FLOW_BACKEND_CLOSED));
	return 0;
}
#endif
