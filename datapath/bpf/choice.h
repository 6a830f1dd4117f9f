/* Which backend a client of a service gets.
 *
 * Elements of hash maps may be given to another key while they are read here.
 * So what was copied counts only if the service is still the same afterwards: the daemon deletes a generation of
 * backends after it has set the next one.
 */
#ifndef TIDEGATE_CHOICE_H
#define TIDEGATE_CHOICE_H

#include "remembered.h"
#include "service.h"

#define NANOSECONDS 1000000000ULL
#define ATTEMPTS 2

/* A client's backend that has moved to another slot is looked for in so many, the nearest ones first. */
#define SEARCHED_SLOTS 256

static __always_inline int same_address(const struct address *one, const struct address *other)
{
	return one->word[0] == other->word[0] && one->word[1] == other->word[1] && one->word[2] == other->word[2] &&
	       one->word[3] == other->word[3];
}

static __always_inline int backend_at(const struct service *service, __u32 slot, struct backend *backend)
{
	struct backend_key key = {service->id, service->generation, slot};
	struct backend *found = bpf_map_lookup_elem(&backends, &key);

	if (!found)
		return 0;
	*backend = *found;
	return 1;
}

/* The slot that has a backend now, or one past the last. The daemon keeps slots in order, so that few move far. */
static __noinline __u32 slot_of(const struct service *service, const struct backend *backend, __u32 before)
{
	__u32 slots = service->backends;
	struct backend at;

	for (__u32 i = 0; i < SEARCHED_SLOTS; i++) {
		__u32 away = (i + 1) / 2;
		__u32 slot;

		if (i >= slots)
			break;
		slot = (before % slots + (i % 2 ? away : slots - away)) % slots;
		if (backend_at(service, slot, &at) && same_address(&at.address, &backend->address) &&
		    at.port == backend->port)
			return slot;
	}
	return slots;
}

static __always_inline int held_backend(const struct service *service, const struct client *client,
					struct backend *backend)
{
	struct held *held = bpf_map_lookup_elem(&affinity, client);
	__u64 now = bpf_ktime_get_ns();
	struct held copy;

	if (!held)
		return 0;
	copy = *held;
	if (service->affinity_s && now - copy.seen_ns > service->affinity_s * NANOSECONDS)
		return 0;
	if (copy.generation != service->generation) {
		copy.slot = slot_of(service, &copy.backend, copy.slot);
		held->slot = copy.slot;
		held->generation = service->generation;
	}
	held->seen_ns = now;
	return copy.slot < service->backends && backend_at(service, copy.slot, backend);
}

static __always_inline int new_backend(const struct service *service, const struct client *client,
				       struct backend *backend)
{
	struct held held = {.generation = service->generation, .seen_ns = bpf_ktime_get_ns()};

	if (!service->backends)
		return 0;
	held.slot = bpf_get_prandom_u32() % service->backends;
	if (!backend_at(service, held.slot, backend))
		return 0;
	held.backend = *backend;
	if (client->kind)
		bpf_map_update_elem(&affinity, client, &held, BPF_ANY);
	return 1;
}

/* A backend for a client: the one it has if that is still there. A client of kind 0 has none. */
static __always_inline int choose(const struct flow *to, struct service *service, const struct client *client,
				  struct backend *backend)
{
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		int chosen = (client->kind && held_backend(service, client, backend)) ||
			     new_backend(service, client, backend);
		const struct service *now = service_at(&to->destination, to->destination_port, to->protocol);

		if (!now)
			return 0;
		if (chosen && now->id == service->id && now->generation == service->generation)
			return 1;
		*service = *now;
	}
	return 0;
}
#endif
