/* What the programs remember of clients, without the daemon: which backend each has, and what it asked for.
 *
 * All of it is in LRU maps. What has traffic is looked up, and what is looked up stays.
 */
#ifndef TIDEGATE_REMEMBERED_H
#define TIDEGATE_REMEMBERED_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "intercept.h"

#define CLIENTS 65536
#define SOCKETS 65536

/* affinity: LRU_HASH. Which backend a client has. */
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

/* asked: LRU_HASH. Where a socket wanted to go that was given a backend. */
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

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CLIENTS);
	__type(key, struct client);
	__type(value, struct held);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOCKETS);
	__type(key, struct peer);
	__type(value, struct frontend);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} asked SEC(".maps");
#endif
