/* The contract of the BPF programs and the daemon: keys, values, marks, and names of what is counted.
 *
 * Addresses are 16 bytes everywhere, IPv4 as ::ffff:a.b.c.d: one map and one program serve both families.
 * Ports and addresses are in network order, all else in the host's.
 * A change to a key or a value is a new LAYOUT: maps are pinned below a folder of that name.
 */
#ifndef TIDEGATE_INTERCEPT_H
#define TIDEGATE_INTERCEPT_H

#include <linux/types.h>

#define LAYOUT 4

/* Of packets and sockets, within MARK_MASK. Bits of kube-proxy (0x4000, 0x8000) and of CNIs stay free. */
#define MARK_MASK 0x0f00
#define MARK_TO_PROXY 0x0200      /* deliver on this node: Envoy has it */
#define MARK_REFUSE 0x0300        /* answer with a reset: a rule of nftables does, which no program can */
#define MARK_FROM_PROXY 0x0a00    /* Envoy's own, from the node's address: never steered */
#define MARK_FROM_PROXY_AS 0x0b00 /* Envoy's own, from its client's address: replies are steered back */

#define CAPTURE_PORT 15001
#define ROUTE_TABLE 2004
#define RULE_PREFERENCE 9

struct address {
	__be32 word[4];
};

/* svc: HASH. Address zero: every address of the node. */
struct service_key {
	struct address address;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 pad;
};

enum service_flag {
	SERVICE_PROXY = 1,     /* Envoy serves it */
	SERVICE_EXTERNAL = 2,  /* from outside the node too */
	SERVICE_FAIL_OPEN = 4, /* without Envoy: as if not PROXY */
	SERVICE_AFFINITY = 16,
	SERVICE_LEAVING = 32, /* Envoy has served it, and may have connections to it still */
	SERVICE_GONE = 64,    /* and is all that there is of it: nobody opens one any more */
};

struct service {
	__u32 flags;
	__u32 id;
	__u32 generation; /* of its backends: the next one is written whole, then this is set */
	__u32 backends;   /* slots 0 .. backends - 1; a backend of weight n has n slots, in turns */
	__u32 affinity_s;
	__u32 pad;
};

/* backends: HASH */
struct backend_key {
	__u32 service;
	__u32 generation;
	__u32 slot;
};

struct backend {
	struct address address; /* zero: who is given this is refused */
	__be16 port;
	__u8 pad[2];
};

/* workloads: HASH by address. Pods of this node. */
struct workload {
	__u32 ifindex; /* the node's end of its link; a bridge's port, where it is at one */
};

/* node_addresses: HASH by address, of the link that has it. What a frontend of address zero is reached at.
 * link_addresses: the same, of those that only neighbours on a link reach the node by. No service is there.
 */
struct node_address {
	__u32 ifindex;
};

/* proxied_as: LRU_HASH. Connections of Envoy from a client's address, as the replies have it. */
struct flow {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 pad[3];
};

#define PROXY_CLOSED 1
#define PEER_CLOSED 2

struct proxied {
	__u64 since_ns;
	__u32 closed; /* by whom */
	__u32 pad;
};

/* fragments: LRU_HASH. The ports of a packet whose later fragments have none. */
struct fragment {
	struct address source;
	struct address destination;
	__u32 id; /* as it is in the header */
	__u8 protocol;
	__u8 pad[3];
};

struct ports {
	__be16 source;
	__be16 destination;
};

/* What a pod that is its own backend sees as its client: it would not take a packet from its own address.
 * 192.0.0.8 is the dummy address of RFC 7600, 100:0:0:1::/64 the dummy prefix of RFC 9780.
 */
#define SELF_IPV4 0xc0000008
#define SELF_IPV6_WORD0 0x01000000
#define SELF_IPV6_WORD1 0x00000001
#define SELF_IPV6_WORD3 0x00000008

/* answers: HASH. An address that this node has on a link, as far as others there are told: with this MAC. */
struct answer_key {
	struct address address;
	__u32 ifindex;
};

struct answer {
	__u8 mac[6];
	__u8 pad[2];
};

/* own_macs: HASH, of the links that addresses are announced on. Two of them may be on one segment. */
struct mac {
	__u8 octets[6];
	__u8 pad[2];
};

/* settings: ARRAY[1] */
struct settings {
	struct address node4; /* zero if there is none */
	struct address node6;
	__u64 envoy_cgroup;
	__u64 host_netns; /* cookie, zero the initial one's: what is in it are the node's own processes */
};

/* listeners: SOCKMAP, written by `listen` alone: IPv4 first, then IPv6. */
#define LISTENERS_PER_FAMILY 16

/* absence: ARRAY[2], IPv4 and IPv6. When a connection first found no listener of Envoy; zero while it has one. */
struct absence {
	__u64 since_ns;
};

/* For how long connections of a service that fails closed are dropped: a restart takes less. Then they are refused. */
#define PATIENCE_NS 3000000000ULL

/* Where a verdict was reached. */
enum direction {
	FROM_WORKLOAD,
	TO_WORKLOAD,
	FROM_NETWORK,
	TO_NETWORK,
	FROM_HOST,
	DELIVERY, /* the choice of a socket */
	LISTEN,
	SOCKET, /* connect, send, receive and ask of a process */
	DIRECTIONS,
};

/* Every verdict, with what becomes of the packet. New ones come last: what was counted keeps its name. */
enum reason {
	PASS_NOT_IP,
	PASS_NO_PORTS, /* ICMP and what else has none */
	PASS_FRAGMENT, /* its first one was not seen */
	PASS_EXTENSIONS, /* more IPv6 extension headers than are looked into */
	PASS_MALFORMED,  /* the kernel drops it */
	PASS_NO_SERVICE,
	PASS_NOT_EXTERNAL, /* a service, but not for who is outside */
	PASS_FROM_PROXY,
	PASS_STEERED, /* a process of the node has steered itself */
	STEERED,
	STEERED_REPLY,  /* to a connection of Envoy from its client's address */
	STEERED_ERROR,  /* ICMP about a connection of Envoy */
	REFUSED_ABSENT, /* Envoy is away for longer than a restart takes */
	RECORDED,       /* a new connection of Envoy from its client's address */
	BALANCED,       /* a backend was chosen in the kernel */
	REFUSED_NO_BACKEND,
	DROP_SPOOFED, /* not an address of the pod */
	DROP_MALFORMED,
	DROP_DOUBLE_TAGGED,
	DROP_AWAIT, /* Envoy is away: the client tries again */
	DROP_LOOP,  /* Envoy would reach itself */
	SELECTED,   /* a listener of Envoy */
	REFUSED_NO_LISTENER,
	REFUSED_CAPTURE_PORT, /* which is reached by steering only */
	REFUSED_NOT_EXTERNAL,
	LISTENER_PUBLISHED,
	LISTENERS_FULL,
	PASS_TAGGED,     /* a VLAN's, whose own link sees it too */
	TRANSLATED_SELF, /* from a pod to itself, by way of Envoy */
	PASS_BALANCED,   /* of a connection whose backend was chosen before */
	BALANCED_ERROR, /* ICMP about a packet to or from a backend */
	NAMED,		/* a socket was told the name that it had asked for */
	ANSWERED,	/* a backend's answer has the service's address again */
	MASQUERADED,	/* to a backend that is reached from the node's address only */
	RETURNED,	/* an answer to that */
	DROP_NO_SOURCE, /* neither a port nor an address of the node to masquerade with */
	DROP_TAKEN,	/* a pod's connection that Envoy has in its name */
	NEIGHBOUR_ANSWERED, /* who asked for the MAC of an address that is announced */
	NEIGHBOUR_YIELDED,  /* another node says that it has such an address now */
	DROP_NO_CONNECTION, /* to what stands in for a pod itself, where Envoy has no such connection */
	REFUSED_NO_CONNECTION, /* of a connection to a backend that is not known any more, or never was */
	BALANCED_RECLAIMED,    /* from a port of the node whose connection had not been established */
	PASS_STRANGER, /* of who is at a bridge with pods, and not known to be one: nothing is steered */
	PASS_UNDERWAY, /* of a pod's connection that somebody else has balanced, before there were programs */
	DROP_EXTENSIONS, /* more of them than are looked into, behind which a pod could tell its neighbours anything */
	REASONS,
};

/* verdicts: PERCPU_ARRAY, at reason * DIRECTIONS + direction */
struct tally {
	__u64 packets;
	__u64 bytes;
};

/* events: RINGBUF. Drops, refusals, and connections that begin to be steered. */
struct event {
	__u64 time_ns; /* of CLOCK_MONOTONIC */
	struct flow flow;
	__u32 ifindex;
	__u32 suppressed; /* on the same CPU before this one, by the limit below */
	__u8 reason;
	__u8 direction;
	__u8 pad[6];
};

/* pace: PERCPU_ARRAY[1] */
struct pace {
	__u64 window_ns; /* its begin */
	__u32 events;
	__u32 suppressed;
};

#define EVENT_WINDOW_NS 100000000ULL
#define EVENTS_PER_WINDOW 100
#endif
