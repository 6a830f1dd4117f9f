/* What is worked on while a connection gets its backend; the stack is too small for it. */
#ifndef TIDEGATE_DESK_H
#define TIDEGATE_DESK_H

#include "maps.h"
#include "remembered.h"

struct desk {
	struct flow flow; /* as its client has it */
	struct client from;
	struct service service;
	struct connection connection;
	struct flow answer; /* as it would come to the node's port */
	struct translation client;
	struct translation translation;
};

/* No other program of TC runs on a CPU meanwhile. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct desk);
} desks SEC(".maps");
#endif
