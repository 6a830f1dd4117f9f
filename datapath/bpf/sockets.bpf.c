/* Services at the sockets of the node and of its pods: connect() and sendto() go to a backend, and who reads the
 * peer's address back gets the service's. No packet is ever translated for it.
 *
 * Where Envoy serves, the address stays and packets are steered. The node's own processes have no link for that, so
 * their sockets get the mark.
 */
#include <asm-generic/errno.h>

#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "choice.h"
#include "maps.h"
#include "own_port.h"
#include "parsing.h"
#include "proxy.h"
#include "remembered.h"
#include "service.h"
#include "verdict.h"

#define SOL_SOCKET 1
#define SO_MARK 36

#define PROCEED 1
#define REFUSE 0

enum call {
	CONNECT,
	SEND,
};

/* A constant wherever it is passed, so that each program reads and writes the fields that it may. */
enum family {
	IPV4,
	IPV6,
};

static __always_inline struct address address(const struct bpf_sock_addr *ctx, enum family family)
{
	if (family == IPV4)
		return mapped(ctx->user_ip4);
	return (struct address){{ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
}

static __always_inline void rename(struct bpf_sock_addr *ctx, enum family family, const struct address *address,
				   __be16 port)
{
	ctx->user_port = port;
	if (family == IPV4) {
		ctx->user_ip4 = address->word[3];
		return;
	}
	ctx->user_ip6[0] = address->word[0];
	ctx->user_ip6[1] = address->word[1];
	ctx->user_ip6[2] = address->word[2];
	ctx->user_ip6[3] = address->word[3];
}

static __always_inline int proceed(enum reason reason)
{
	count(reason, SOCKET, 0);
	return PROCEED;
}

/* A program can say with what a call fails from Linux 6.1 on; before, it is EPERM. */
static __always_inline int refuse(enum reason reason)
{
	count(reason, SOCKET, 0);
	/* The helper is older than its use here; this one came with that. */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_user_ringbuf_drain))
		bpf_set_retval(-ECONNREFUSED);
	return REFUSE;
}

static __always_inline void set_mark(struct bpf_sock_addr *ctx, __u32 mark)
{
	struct bpf_sock *socket = ctx->sk;
	__u32 whole;

	if (!socket)
		return;
	whole = (socket->mark & ~MARK_MASK) | mark;
	if (whole != socket->mark)
		bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &whole, sizeof(whole));
}

/* A socket that was steered to one address may go on to another. */
static __always_inline void unset_mark(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *socket = ctx->sk;

	if (socket && (socket->mark & MARK_MASK) == MARK_TO_PROXY)
		set_mark(ctx, 0);
}

/* Envoy's own connections never come back to it: for them all is as if there were no Envoy. */
static __always_inline int goes_to_proxy(const struct settings *settings, const struct flow *to,
					 const struct service *service)
{
	if (!is_proxied(service) || bpf_get_current_cgroup_id() == settings->envoy_cgroup)
		return 0;
	if (!(service->flags & SERVICE_FAIL_OPEN))
		return 1;
	return is_listening(!is_mapped(&to->destination));
}

/* Before Linux 5.14 nobody else can ask for a cookie: zero is the namespace that the kernel began with. */
static __always_inline int is_of_host(struct bpf_sock_addr *ctx, const struct settings *settings)
{
	__u64 host = settings->host_netns ? settings->host_netns : bpf_get_netns_cookie(NULL);

	return bpf_get_netns_cookie(ctx) == host;
}

static __always_inline int steer(struct bpf_sock_addr *ctx, const struct settings *settings, enum call call)
{
	/* A socket that sends without being connected cannot be marked on every kernel. */
	if (call == CONNECT && is_of_host(ctx, settings))
		set_mark(ctx, MARK_TO_PROXY);
	return proceed(STEERED);
}

static __always_inline struct client client(struct bpf_sock_addr *ctx, const struct service *service, enum call call)
{
	if (service->flags & SERVICE_AFFINITY)
		return (struct client){
			.kind = CLIENT_NAMESPACE, .cookie = bpf_get_netns_cookie(ctx), .service = service->id};
	if (call == SEND)
		return (struct client){
			.kind = CLIENT_SOCKET, .cookie = bpf_get_socket_cookie(ctx), .service = service->id};
	return (struct client){};
}

static __always_inline struct peer peer(struct bpf_sock_addr *ctx, const struct address *address, __be16 port)
{
	return (struct peer){
		.socket = bpf_get_socket_cookie(ctx),
		.backend = {.address = *address, .port = port},
	};
}

/* Most sockets have none, which costs no lookup: so it is with all that are accepted. */
static __always_inline struct name *name_of(struct bpf_sock_addr *ctx, __u64 flags)
{
	struct bpf_sock *socket = ctx->sk;

	return socket ? bpf_sk_storage_get(&named, socket, NULL, flags) : NULL;
}

static __always_inline int is_of(const struct name *name, const struct address *backend, __be16 port)
{
	return same(&name->backend.address, backend) && name->backend.port == port;
}

static __always_inline void remember_another(struct bpf_sock_addr *ctx, const struct name *wanted)
{
	struct peer key = peer(ctx, &wanted->backend.address, wanted->backend.port);
	struct frontend *had = bpf_map_lookup_elem(&asked, &key);

	if (!had || !same(&had->address, &wanted->frontend.address) || had->port != wanted->frontend.port)
		bpf_map_update_elem(&asked, &key, &wanted->frontend, BPF_ANY);
}

/* A peer has the name that was asked for last. */
static __always_inline void remember(struct bpf_sock_addr *ctx, const struct backend *backend, const struct flow *to,
				     enum call call)
{
	struct name wanted = {
		.backend = *backend,
		.frontend = {.address = to->destination, .port = to->destination_port},
	};
	struct name *name = name_of(ctx, BPF_SK_STORAGE_GET_F_CREATE);
	struct peer key;

	if (ctx->protocol == IPPROTO_TCP) {
		if (name)
			*name = wanted;
		return;
	}
	if (!name || (call == SEND && !is_zero(&name->backend.address) &&
		      !is_of(name, &backend->address, backend->port))) {
		remember_another(ctx, &wanted);
		return;
	}
	if (!is_of(name, &backend->address, backend->port)) { /* it may have been another one of the socket's */
		key = peer(ctx, &backend->address, backend->port);
		bpf_map_delete_elem(&asked, &key);
	}
	*name = wanted;
}

/* Of what may have been connected to a service before. */
static __always_inline void forget(struct bpf_sock_addr *ctx, const struct flow *to)
{
	struct name *name = name_of(ctx, 0);
	struct bpf_sock *socket = ctx->sk;
	struct peer key;

	if (name && socket &&
	    (ctx->protocol == IPPROTO_TCP || is_of(name, &to->destination, to->destination_port)))
		bpf_sk_storage_delete(&named, socket);
	if (ctx->protocol == IPPROTO_TCP)
		return;
	key = peer(ctx, &to->destination, to->destination_port);
	if (bpf_map_lookup_elem(&asked, &key))
		bpf_map_delete_elem(&asked, &key);
}

/* A connected socket's peer keeps its name: through IPv6 sockets it is seen again here for each datagram over IPv4. */
static __always_inline int direct(struct bpf_sock_addr *ctx, const struct flow *to, enum call call)
{
	struct bpf_sock *socket = ctx->sk;

	if (call == CONNECT || !socket || socket->state != BPF_TCP_ESTABLISHED)
		forget(ctx, to);
	return proceed(PASS_NO_SERVICE);
}

static __always_inline int balance(struct bpf_sock_addr *ctx, enum family family, enum call call,
				   const struct flow *to, struct service *service)
{
	struct client from = client(ctx, service, call);
	struct backend backend = {};

	if (!choose(to, service, &from, &backend) || !is_usable(&backend, to))
		return refuse(REFUSED_NO_BACKEND);
	remember(ctx, &backend, to, call);
	rename(ctx, family, &backend.address, backend.port);
	return proceed(BALANCED);
}

/* The kernel makes loopback of address zero, which as a key would be every address of the node. */
static __always_inline const struct service *asked_for(const struct flow *to)
{
	return is_zero(&to->destination) ? NULL : service_at(&to->destination, to->destination_port, to->protocol);
}

static __always_inline int leave(struct bpf_sock_addr *ctx, enum family family, enum call call)
{
	const struct settings *own = bpf_map_lookup_elem(&settings, &only);
	struct flow to = {
		.destination = address(ctx, family),
		.destination_port = (__be16)ctx->user_port,
		.protocol = ctx->protocol,
	};
	const struct service *found = asked_for(&to);
	struct service service;

	if (call == CONNECT && is_in_clients_name(ctx))
		choose_own_port(ctx, family == IPV6);
	if (found && own && goes_to_proxy(own, &to, found))
		return steer(ctx, own, call);
	if (call == CONNECT)
		unset_mark(ctx);
	if (!found)
		return direct(ctx, &to, call);
	service = *found;
	return balance(ctx, family, call, &to, &service);
}

static __always_inline const struct frontend *frontend_of(struct bpf_sock_addr *ctx, const struct address *backend,
							  __be16 port)
{
	const struct name *name = name_of(ctx, 0);
	struct peer key;

	if (name && is_of(name, backend, port))
		return &name->frontend;
	if (ctx->protocol == IPPROTO_TCP)
		return NULL;
	key = peer(ctx, backend, port);
	return bpf_map_lookup_elem(&asked, &key);
}

/* Who reads a peer's address gets the one that was asked for. */
static __always_inline int answer(struct bpf_sock_addr *ctx, enum family family)
{
	const struct address backend = address(ctx, family);
	const struct frontend *frontend = frontend_of(ctx, &backend, (__be16)ctx->user_port);

	if (!frontend)
		return PROCEED;
	rename(ctx, family, &frontend->address, frontend->port);
	return proceed(NAMED);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return leave(ctx, IPV4, CONNECT);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return leave(ctx, IPV6, CONNECT);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return leave(ctx, IPV4, SEND);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return leave(ctx, IPV6, SEND);
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return answer(ctx, IPV4);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return answer(ctx, IPV6);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return answer(ctx, IPV4);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return answer(ctx, IPV6);
}

char LICENSE[] SEC("license") = "GPL";
