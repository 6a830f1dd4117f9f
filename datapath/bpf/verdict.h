/* What became of a packet is counted, and told where somebody may ask why. */
#ifndef TIDEGATE_VERDICT_H
#define TIDEGATE_VERDICT_H

#include "maps.h"

static const __u32 only = 0; /* the key of an array that has one entry */

/* A verdict of TC, and why. */
struct verdict {
	int action;
	enum reason reason;
};

static __always_inline void count(enum reason reason, enum direction direction, __u32 bytes)
{
	__u32 key = reason * DIRECTIONS + direction;
	struct tally *tally = bpf_map_lookup_elem(&verdicts, &key);

	if (!tally)
		return;
	tally->packets++;
	tally->bytes += bytes;
}

/* Whether this CPU may tell one more event now. */
static __always_inline int paced(struct pace *own, __u64 now_ns)
{
	if (now_ns - own->window_ns >= EVENT_WINDOW_NS) {
		own->window_ns = now_ns;
		own->events = 0;
	}
	if (own->events >= EVENTS_PER_WINDOW) {
		own->suppressed++;
		return 0;
	}
	own->events++;
	return 1;
}

/* A function of its own, so that the object's types have an event, and all reasons and directions, by name. */
static __noinline void publish(struct event *event, enum reason reason, enum direction direction)
{
	struct pace *own = bpf_map_lookup_elem(&pace, &only);

	event->time_ns = bpf_ktime_get_ns();
	if (!own || !paced(own, event->time_ns))
		return;
	event->reason = reason;
	event->direction = direction;
	event->suppressed = own->suppressed;
	own->suppressed = bpf_ringbuf_output(&events, event, sizeof(*event), 0) ? own->suppressed + 1 : 0;
}

/* Not every object that includes this tells anything: hence inline, which it is not. */
static inline __noinline void tell(enum reason reason, enum direction direction, const struct flow *flow, __u32 ifindex)
{
	struct event event = {.flow = *flow, .ifindex = ifindex};

	publish(&event, reason, direction);
}
#endif
