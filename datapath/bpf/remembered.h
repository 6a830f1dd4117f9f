/* What the programs remember of clients, without the daemon: which backend each has, and what it asked for.
 *
 * What a socket asked for is kept with the socket. All else is in LRU maps: what has traffic is looked up, and what is
 * looked up stays.
 */
#ifndef TIDEGATE_REMEMBERED_H
#define TIDEGATE_REMEMBERED_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "intercept.h"

#define CLIENTS 65536
#define SOCKETS 65536
#define CONNECTIONS 65536

/* affinity: LRU_HASH. Which backend a client has.
 * conversations: the same of CLIENT_SOCKET alone, of which a process may have as many as it likes.
 */
enum client_kind {
	CLIENT_ADDRESS = 1,
	CLIENT_NAMESPACE = 2, /* a pod */
	CLIENT_SOCKET = 3,    /* whose datagrams belong together */
};

struct client {
	struct address address; /* or zero */
	__u64 cookie;
	__u32 kind;
	__u32 service;
};

struct held {
	__u64 seen_ns;
	__u32 generation;
	__u32 slot;
	struct backend backend;
	__u32 pad;
};

/* asked: LRU_HASH. Where a socket of UDP wanted to go when it was given other backends than its first one. */
struct peer {
	__u64 socket; /* cookie */
	struct backend backend;
	__u32 pad;
};

struct frontend {
	struct address address;
	__be16 port;
	__u8 pad[2];
};

/* named: SK_STORAGE. Where a socket wanted to go that was given a backend. Of TCP it has one, of UDP this is the first. */
struct name {
	struct backend backend;
	struct frontend frontend;
};

/* Ports of the node, clear of what its own processes and Envoy send from (up to 60999). */
#define NODE_PORT_FIRST 61000
#define NODE_PORTS 4536

/* connections: LRU_HASH by flow, as the client has it. */
struct connection {
	struct backend backend;
	__u32 service;
	__u32 generation;
	__u32 slot;
	struct address node; /* and port: who it is to the backend; zero where that is the client */
	__be16 node_port;
	__u8 pad[2];
};

/* How far the two sides of a connection have come. */
enum flow_progress {
	FLOW_REPLIED = 1,     /* the backend has answered */
	FLOW_ESTABLISHED = 2, /* and the client that: who only claims to be the client does not know how */
	FLOW_CLIENT_CLOSED = 4,
	FLOW_BACKEND_CLOSED = 8,
};

/* For how long a connection is kept of which nothing is heard: in seconds, by its progress. */
#define OPENING_S 30 /* not established, or one question and one answer of UDP */
#define DATAGRAMS_S 180
#define SILENT_S 7440 /* RFC 5382: no less than two hours and four minutes */
#define HALF_CLOSED_S 120
#define FREED_S 10 /* ended by both: others need the port */
#define CLOSED_S 60 /* the same without one, by the daemon: as long as TIME_WAIT, whose answers are of it still */

/* translations: LRU_HASH by flow, as it is met: RETURNED has the destination, MASQUERADED and ANSWERED the source.
 *
 * By what its answers meet first a connection is known to live: RETURNED if it is masqueraded, else ANSWERED.
 */
struct translation {
	struct address address;
	__be16 port;
	__u8 reason;
	__u8 progress;
	__u32 seen_s;
	__u32 of_backend; /* the number of TCP that is awaited of it next: what the client has acknowledged */
	__u32 of_client;  /* and the other way around; zero where it is not known */
};

/* balanced: ARRAY[1]. When a packet of any flow of those was seen last, in seconds of CLOCK_MONOTONIC; zero for never. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} balanced SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CLIENTS);
	__type(key, struct client);
	__type(value, struct held);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CLIENTS);
	__type(key, struct client);
	__type(value, struct held);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} conversations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOCKETS);
	__type(key, struct peer);
	__type(value, struct frontend);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct name);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} named SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CONNECTIONS);
	__type(key, struct flow);
	__type(value, struct connection);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 3 * CONNECTIONS);
	__type(key, struct flow);
	__type(value, struct translation);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} translations SEC(".maps");
#endif
