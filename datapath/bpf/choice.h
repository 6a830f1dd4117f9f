/* Which backend a client of a service gets.
 *
 * Elements of hash maps may be given to another key while they are read here.
 * So what was copied counts only if the service is still the same afterwards: the daemon deletes a generation of
 * backends after it has set the next one.
 */
#ifndef TIDEGATE_CHOICE_H
#define TIDEGATE_CHOICE_H

#include "parsing.h"
#include "remembered.h"
#include "service.h"

#define NANOSECONDS 1000000000ULL
#define ATTEMPTS 2

/* A client's backend that has moved to another slot is looked for in so many, the nearest ones first. */
#define SEARCHED_SLOTS 256

static __always_inline const struct backend *backend_at(const struct service *service, __u32 slot)
{
	struct backend_key key = {service->id, service->generation, slot};

	return bpf_map_lookup_elem(&backends, &key);
}

static __always_inline int copy_backend(const struct service *service, __u32 slot, struct backend *backend)
{
	const struct backend *found = backend_at(service, slot);

	if (!found)
		return 0;
	*backend = *found;
	return 1;
}

/* A function of its own to the verifier, which so looks at the loop once: it may have five numbers as arguments. */
__noinline __u32 find_slot(__u64 service, __u64 slots, __u64 high, __u64 low, __u64 port)
{
	struct service in = {.id = service >> 32, .generation = service, .backends = slots >> 32};
	__u32 before = slots;
	struct address address = {{high >> 32, high, low >> 32, low}};

	for (__u32 i = 0; i < SEARCHED_SLOTS; i++) {
		__u32 away = (i + 1) / 2;
		const struct backend *at;
		__u32 slot;

		if (i >= in.backends)
			break;
		slot = (before % in.backends + (i % 2 ? away : in.backends - away)) % in.backends;
		at = backend_at(&in, slot);
		if (at && same(&at->address, &address) && at->port == (__be16)port)
			return slot;
	}
	return in.backends;
}

/* The slot that has a backend now, or one past the last. The daemon keeps slots in order, so that few move far. */
static __always_inline __u32 slot_of(const struct service *service, const struct backend *backend, __u32 before)
{
	const __u32 *word = backend->address.word;

	return find_slot((__u64)service->id << 32 | service->generation, (__u64)service->backends << 32 | before,
			 (__u64)word[0] << 32 | word[1], (__u64)word[2] << 32 | word[3], backend->port);
}

static __always_inline int held_backend(const struct service *service, const struct client *client,
					struct backend *backend)
{
	struct held *held = client->kind == CLIENT_SOCKET ? bpf_map_lookup_elem(&conversations, client)
							  : bpf_map_lookup_elem(&affinity, client);
	__u64 now = bpf_ktime_get_ns();
	__u32 slot;

	if (!held)
		return 0;
	if (service->affinity_s && now - held->seen_ns > service->affinity_s * NANOSECONDS)
		return 0;
	slot = held->slot;
	if (held->generation != service->generation) {
		slot = slot_of(service, &held->backend, slot);
		held->slot = slot;
		held->generation = service->generation;
	}
	held->seen_ns = now;
	return slot < service->backends && copy_backend(service, slot, backend);
}

static __noinline int hold(const struct client *client, const struct service *service, __u32 slot,
			   const struct backend *backend)
{
	struct held held = {
	    .seen_ns = bpf_ktime_get_ns(),
	    .generation = service->generation,
	    .slot = slot,
	    .backend = *backend,
	};

	return client->kind == CLIENT_SOCKET ? bpf_map_update_elem(&conversations, client, &held, BPF_ANY)
					     : bpf_map_update_elem(&affinity, client, &held, BPF_ANY);
}

static __always_inline int new_backend(const struct service *service, const struct client *client,
				       struct backend *backend)
{
	__u32 slot;

	if (!service->backends)
		return 0;
	slot = bpf_get_prandom_u32() % service->backends;
	if (!copy_backend(service, slot, backend))
		return 0;
	if (client->kind && !is_zero(&backend->address))
		hold(client, service, slot, backend);
	return 1;
}

/* Of the family that was asked for, and somebody: a share of a service's connections may be for nobody. */
static __always_inline int is_usable(const struct backend *backend, const struct flow *to)
{
	return !is_zero(&backend->address) && is_mapped(&backend->address) == is_mapped(&to->destination);
}

/* A backend for a client: the one it has if that is still there. A client of kind 0 has none. */
static __always_inline int choose(const struct flow *to, struct service *service, const struct client *client,
				  struct backend *backend)
{
/* Unrolled: before Linux 6.9 the verifier refuses a loop that calls functions of ours. */
#pragma unroll
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
