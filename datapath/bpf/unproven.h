/* A full LRU map gives up first what nobody has looked up since it was written. So a connection of TCP that is not
 * established is written anew whenever it was looked up: a flood of openings pushes out itself, and nothing that goes on.
 *
 * For a moment it is not there. Of datagrams, questions and answers pass each other at any time, and one would be lost.
 */
#ifndef TIDEGATE_UNPROVEN_H
#define TIDEGATE_UNPROVEN_H

#include "desk.h"
#include "remembered.h"
#include "verdict.h"

static __noinline int unreference(const struct flow *met, const struct translation *entry)
{
	struct desk *desk = bpf_map_lookup_elem(&desks, &only);

	if (!desk || met->protocol != IPPROTO_TCP)
		return 0;
	desk->translation = *entry; /* its place may be another's once it is deleted */
	bpf_map_delete_elem(&translations, met);
	bpf_map_update_elem(&translations, met, &desk->translation, BPF_NOEXIST);
	return 0;
}

static __noinline int unreference_connection(const struct flow *flow, const struct connection *entry)
{
	struct desk *desk = bpf_map_lookup_elem(&desks, &only);

	if (!desk || flow->protocol != IPPROTO_TCP)
		return 0;
	desk->connection = *entry;
	bpf_map_delete_elem(&connections, flow);
	bpf_map_update_elem(&connections, flow, &desk->connection, BPF_NOEXIST);
	return 0;
}
#endif
