/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated network. A connection is two ends; each has an inbox of frames under way to it, in
 * order, the first of which is delivered by an event when it is due. The end of a connection is the
 * last thing in an inbox, so that what was sent before it still arrives.
 *
 * An end is freed after its on_close, or with its net. Before that its peer's pointer to it is
 * cleared.
 */
#include "tests/sim/sim_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "tests/sim/sim_switch_internal.h"

#define SIM_NET_MAGIC	0x51400002u
#define RETRY_NS	(20 * SIM_MS)	/* across a cut: when TCP tries again */
#define STARVED_NS	SIM_MS		/* until the receiver's pool is asked again */
#define PORT_FIRST	40000u

/* Something under way to one end: a frame, or the end of the connection. */
struct flight {
	uint64_t due_ns;
	bool is_end;
	uint32_t bytes_queued;		/* of the sender's bound */
	uint8_t header[FRAME_HEADER_BYTES];
	uint32_t message_len, bulk_len;
	struct flight *prev, *next;
	uint8_t bytes[];		/* message, then bulk */
};

struct net_conn {
	struct sim_net *net;
	struct net_conn *peer;		/* NULL: the other end is gone */
	char remote_host[SIM_HOST_BYTES];
	char name[SIM_HOST_BYTES + 16];
	const struct net_conn_events *events;
	void *arg;
	uint16_t accept_port;		/* not 0: on_accept is still to be called */
	bool is_paused;
	bool is_closing;
	bool is_over;			/* on_close has been called */
	bool wants_drain;
	int close_rc;
	uint64_t queued_bytes;		/* sent from here and not yet delivered */
	uint64_t stalled_since_ns;	/* 0: not stalled */
	struct flight *inbox;
	struct sim_event deliver, drain, close;
	struct net_conn *prev, *next;
};

struct net_listener {
	struct sim_net *net;
	uint16_t port;
	char address[SIM_HOST_BYTES + 16];
	void (*on_accept)(void *arg, struct net_conn *conn);
	void *arg;
	struct net_listener *prev, *next;
};

struct connecting {
	struct sim_net *net;
	struct sim_event event;
	char host[SIM_HOST_BYTES];
	uint16_t port;
	uint64_t deadline_ns;
	void (*on_connect)(void *arg, struct net_conn *conn, int rc);
	void *arg;
	struct connecting *prev, *next;
};

struct sim_net {
	struct net base;		/* first */
	uint32_t magic;
	struct sim_switch *sw;
	char host[SIM_HOST_BYTES];
	bool is_dead;
	uint16_t port_next;
	uint32_t conn_count;		/* ever made: for their names */
	struct net_listener *listeners;
	struct net_conn *conns;
	struct connecting *connecting;
	struct sim_net *prev, *next;	/* of the switch */
};

static struct sim_net *sim_of(struct net *net)
{
	return CHECKED_CAST(container_of(net, struct sim_net, base), struct sim_net, SIM_NET_MAGIC);
}

static struct sim_world *world_of(const struct sim_net *net)
{
	return net->sw->world;
}

static uint64_t some_delay(const struct sim_net *net)
{
	const struct sim_weather *w = &net->sw->weather;

	return sim_world_between(net->sw->world, w->delay_ns_min, w->delay_ns_max);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void inbox_clear(struct net_conn *c)
{
	struct flight *flight, *next;

	DL_FOREACH_SAFE(c->inbox, flight, next)
		free(flight);
	c->inbox = NULL;
}

static void conn_silence(struct net_conn *c)
{
	struct sim_world *world = world_of(c->net);

	sim_world_cancel(world, &c->deliver);
	sim_world_cancel(world, &c->drain);
	sim_world_cancel(world, &c->close);
	inbox_clear(c);
}

/* Tell the owner, once. */
static void conn_over(struct net_conn *c, int rc)
{
	if (c->is_over)
		return;
	c->is_over = true;
	if (c->events != NULL)
		c->events->on_close(c->arg, rc);
}

static void conn_free(struct net_conn *c)
{
	conn_silence(c);
	if (c->peer != NULL)
		c->peer->peer = NULL;
	DL_DELETE(c->net->conns, c);
	free(c);
}

static void on_close_event(struct sim_event *event)
{
	struct net_conn *c = container_of(event, struct net_conn, close);

	if (sim_loop_defers(c->net->base.loop, event))
		return;
	conn_over(c, c->close_rc);
	if (!c->net->is_dead)	/* a killed net keeps its ends until it is destroyed */
		conn_free(c);
}

/* This end is over: its owner hears so in a later step, the other end is not told by this. */
static void conn_fail(struct net_conn *c, int rc)
{
	if (c->is_closing || c->net->is_dead)
		return;
	conn_silence(c);
	c->is_closing = true;
	c->close_rc = rc;
	if (c->peer != NULL)
		c->peer->peer = NULL;
	c->peer = NULL;
	sim_world_schedule(world_of(c->net), &c->close, 1);
}

static void inbox_add(struct net_conn *c, struct flight *flight)
{
	uint64_t now_ns = sim_world_now_ns(world_of(c->net));
	uint64_t due_ns = now_ns + some_delay(c->net);

	/* In order inside one connection. */
	flight->due_ns = c->inbox ? MAX_OF(due_ns, c->inbox->prev->due_ns) : due_ns;
	DL_APPEND(c->inbox, flight);
	if (!c->deliver.is_scheduled && !c->is_paused)
		sim_world_schedule(world_of(c->net), &c->deliver, c->inbox->due_ns - now_ns);
}

static void inbox_add_end(struct net_conn *c)
{
	struct flight *flight = calloc(1, sizeof *flight);

	ASSERT(flight != NULL);	/* a simulation without memory is over */
	flight->is_end = true;
	inbox_add(c, flight);
}

/* Both ends are over; what is under way is lost. */
static void conn_break(struct net_conn *c)
{
	struct net_conn *peer = c->peer;

	conn_fail(c, -E_NOTCONN);
	if (peer != NULL)
		conn_fail(peer, -E_NOTCONN);
}

/*
 * The connection is reset: of what is under way the other end may get the first frames, as when the
 * reset comes in the middle of one. (Half a frame is none: the transport hands over whole ones.)
 */
static void conn_reset(struct net_conn *c)
{
	struct net_conn *peer = c->peer;
	struct flight *flight, *next;
	uint32_t count = 0;

	if (peer == NULL || c->is_closing || sim_world_chance(world_of(c->net), SIM_MILLION / 2)) {
		conn_break(c);
		return;
	}
	DL_COUNT(peer->inbox, flight, count);
	count = (uint32_t)sim_world_below(world_of(c->net), (uint64_t)count + 1);
	DL_FOREACH_SAFE(peer->inbox, flight, next) {
		if (count > 0) {
			count--;
			continue;
		}
		DL_DELETE(peer->inbox, flight);
		free(flight);
	}
	conn_fail(c, -E_NOTCONN);
	inbox_add_end(peer);
}

/* ---- delivery -------------------------------------------------------------------------------- */

static void schedule_next(struct net_conn *c)
{
	struct sim_world *world = world_of(c->net);
	uint64_t now_ns = sim_world_now_ns(world);

	if (c->inbox == NULL || c->is_paused || c->is_closing || c->net->is_dead)
		return;
	sim_world_schedule(world, &c->deliver,
			   c->inbox->due_ns > now_ns ? c->inbox->due_ns - now_ns : 0);
}

/* Nothing comes through: wait, or give the connection up. */
static void conn_stall(struct net_conn *c)
{
	struct sim_world *world = world_of(c->net);
	uint64_t now_ns = sim_world_now_ns(world);

	if (c->stalled_since_ns == 0)
		c->stalled_since_ns = now_ns;
	if (now_ns - c->stalled_since_ns > SIM_NET_STALL_NS)
		conn_break(c);
	else
		sim_world_schedule(world, &c->deliver, RETRY_NS);
}

/*
 * Into buffers of the receiver's pool: 0, -E_AGAIN if it is empty, or what is wrong with the frame.
 */
static int flight_unpack(const struct net_conn *c, const struct flight *flight,
			 struct net_frame *out)
{
	struct buf_pool *pool = c->net->base.pool;
	int rc = frame_header_decode(flight->header, &out->header);

	if (rc < 0)
		return rc;
	out->message = flight->message_len ? buf_get(pool, flight->message_len) : NULL;
	out->bulk = flight->bulk_len ? buf_get(pool, flight->bulk_len) : NULL;
	if ((flight->message_len && !out->message) || (flight->bulk_len && !out->bulk)) {
		buf_put(out->message);
		buf_put(out->bulk);
		return -E_AGAIN;
	}
	if (out->message != NULL) {
		memcpy(out->message->data, flight->bytes, flight->message_len);
		out->message->len = flight->message_len;
	}
	if (out->bulk != NULL) {
		memcpy(out->bulk->data, flight->bytes + flight->message_len, flight->bulk_len);
		out->bulk->len = flight->bulk_len;
	}
	return 0;
}

static void sender_relieve(struct net_conn *sender, uint32_t bytes)
{
	if (sender == NULL)
		return;
	ASSERT(sender->queued_bytes >= bytes);
	sender->queued_bytes -= bytes;
	if (sender->wants_drain && sender->queued_bytes < SIM_NET_SEND_BYTES_MAX / 2) {
		sender->wants_drain = false;
		sim_world_schedule(world_of(sender->net), &sender->drain, some_delay(sender->net));
	}
}

static void deliver_frame(struct net_conn *c)
{
	struct flight *flight = c->inbox;
	struct net_frame frame = { 0 };
	int rc = flight_unpack(c, flight, &frame);

	if (rc == -E_AGAIN) {
		sim_world_schedule(world_of(c->net), &c->deliver, STARVED_NS);
		return;
	}
	DL_DELETE(c->inbox, flight);
	sender_relieve(c->peer, flight->bytes_queued);
	free(flight);
	if (rc < 0) {
		conn_break(c);
		return;
	}
	c->events->on_frame(c->arg, &frame);
	schedule_next(c);	/* no callback frees an end */
}

static struct net_listener *listener_find(struct sim_net *net, uint16_t port)
{
	struct net_listener *l;

	DL_FOREACH(net->listeners, l)
		if (l->port == port)
			return l;
	return NULL;
}

static void accept_conn(struct net_conn *c)
{
	struct net_listener *l = listener_find(c->net, c->accept_port);

	c->accept_port = 0;
	if (l == NULL) {
		conn_break(c);
		return;
	}
	l->on_accept(l->arg, c);
	schedule_next(c);
}

static void on_deliver(struct sim_event *event)
{
	struct net_conn *c = container_of(event, struct net_conn, deliver);

	if (sim_loop_defers(c->net->base.loop, event))
		return;
	if (c->accept_port != 0) {
		accept_conn(c);
		return;
	}
	if (c->inbox == NULL || c->is_paused)
		return;
	if (sim_switch_is_cut(c->net->sw, c->remote_host, c->net->host)) {
		conn_stall(c);
		return;
	}
	c->stalled_since_ns = 0;
	if (c->inbox->is_end)
		conn_fail(c, -E_NOTCONN);
	else
		deliver_frame(c);
}

static void on_drain_event(struct sim_event *event)
{
	struct net_conn *c = container_of(event, struct net_conn, drain);

	if (!sim_loop_defers(c->net->base.loop, event) && c->events != NULL)
		c->events->on_drain(c->arg);
}

/* ---- the interface of a connection ----------------------------------------------------------- */

static void sim_conn_events(struct net_conn *c, const struct net_conn_events *events, void *arg)
{
	c->events = events;
	c->arg = arg;
}

static struct flight *flight_pack(const struct net_frame *frame)
{
	uint32_t message_len = frame->message ? frame->message->len : 0;
	uint32_t bulk_len = frame->bulk ? frame->bulk->len : 0;
	const struct frame_header *h = &frame->header;
	struct flight *flight = calloc(1, sizeof *flight + message_len + bulk_len);

	ASSERT(flight != NULL);	/* a simulation without memory is over */
	ASSERT(h->message_len <= message_len);
	ASSERT(h->message_len + h->bulk_len == message_len + bulk_len);
	frame_header_encode(h, flight->header);
	flight->message_len = h->message_len;
	flight->bulk_len = h->bulk_len;
	flight->bytes_queued = FRAME_HEADER_BYTES + message_len + bulk_len;
	if (message_len > 0)
		memcpy(flight->bytes, frame->message->data, message_len);
	if (bulk_len > 0)
		memcpy(flight->bytes + message_len, frame->bulk->data, bulk_len);
	return flight;
}

static int sim_send(struct net_conn *c, struct net_frame *frame)
{
	uint32_t bytes = FRAME_HEADER_BYTES + frame->header.message_len + frame->header.bulk_len;

	if (c->is_closing || c->net->is_dead)
		return -E_NOTCONN;
	if (sim_world_chance(world_of(c->net), c->net->sw->weather.break_per_million)) {
		conn_reset(c);
		return -E_NOTCONN;
	}
	if (c->queued_bytes + bytes > SIM_NET_SEND_BYTES_MAX) {
		c->wants_drain = true;
		return -E_OVERLOADED;
	}
	if (c->peer != NULL) {	/* else the end is on its way to us, and nobody listens */
		c->queued_bytes += bytes;
		inbox_add(c->peer, flight_pack(frame));
	}
	buf_put(frame->message);
	buf_put(frame->bulk);
	return 0;
}

static void sim_pause(struct net_conn *c, bool paused)
{
	c->is_paused = paused;
	if (!paused && !c->deliver.is_scheduled)
		schedule_next(c);
}

static void sim_close(struct net_conn *c)
{
	if (c->peer != NULL && !c->is_closing && !c->net->is_dead)
		inbox_add_end(c->peer);
	conn_fail(c, -E_NOTCONN);
}

static const char *sim_peer_name(struct net_conn *c)
{
	return c->name;
}

/* ---- listening, connecting ------------------------------------------------------------------- */

static bool port_parse(const char *address, char host[SIM_HOST_BYTES], uint16_t *port)
{
	const char *colon = strrchr(address, ':');
	char *end;

	if (colon == NULL || colon - address >= SIM_HOST_BYTES)
		return false;
	unsigned long number = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || *end != '\0' || number > UINT16_MAX)
		return false;
	snprintf(host, SIM_HOST_BYTES, "%.*s", (int)(colon - address), address);
	*port = (uint16_t)number;
	return true;
}

static int sim_listen(struct net *base, const char *address,
		      void (*on_accept)(void *arg, struct net_conn *conn), void *arg,
		      struct net_listener **out)
{
	struct sim_net *net = sim_of(base);
	char host[SIM_HOST_BYTES];
	uint16_t port;

	if (!port_parse(address, host, &port))
		return -E_INVAL;
	if (port == 0)
		port = net->port_next++;
	if (sim_switch_find(net->sw, net->host, port) != NULL)
		return -E_ADDRINUSE;
	struct net_listener *l = calloc(1, sizeof *l);
	if (l == NULL)
		return -E_NOMEM;
	l->net = net;
	l->port = port;
	l->on_accept = on_accept;
	l->arg = arg;
	snprintf(l->address, sizeof l->address, "%s:%u", net->host, port);
	DL_APPEND(net->listeners, l);
	*out = l;
	return 0;
}

static void sim_listener_close(struct net_listener *l)
{
	DL_DELETE(l->net->listeners, l);
	free(l);
}

static const char *sim_listener_address(const struct net_listener *l)
{
	return l->address;
}

static struct net_conn *conn_create(struct sim_net *net, const char *remote_host)
{
	struct net_conn *c = calloc(1, sizeof *c);

	ASSERT(c != NULL);	/* a simulation without memory is over */
	c->net = net;
	c->deliver.fn = on_deliver;
	c->drain.fn = on_drain_event;
	c->close.fn = on_close_event;
	snprintf(c->remote_host, sizeof c->remote_host, "%s", remote_host);
	snprintf(c->name, sizeof c->name, "%s#%u", remote_host, net->conn_count++);
	DL_APPEND(net->conns, c);
	return c;
}

static void connecting_end(struct connecting *k, struct net_conn *c, int rc)
{
	sim_world_cancel(world_of(k->net), &k->event);
	DL_DELETE(k->net->connecting, k);
	k->on_connect(k->arg, c, rc);
	free(k);
}

static void connect_to(struct connecting *k, struct sim_net *to)
{
	struct net_conn *c = conn_create(k->net, k->host);
	struct net_conn *other = conn_create(to, k->net->host);

	c->peer = other;
	other->peer = c;
	other->accept_port = k->port;
	sim_world_schedule(world_of(to), &other->deliver, some_delay(to));
	connecting_end(k, c, 0);
}

static void on_connecting(struct sim_event *event)
{
	struct connecting *k = container_of(event, struct connecting, event);
	struct sim_switch *sw = k->net->sw;
	uint64_t now_ns = sim_world_now_ns(sw->world);

	if (sim_loop_defers(k->net->base.loop, event))
		return;
	if (sim_switch_is_cut(sw, k->host, k->net->host) ||
	    sim_switch_is_cut(sw, k->net->host, k->host)) {
		if (now_ns >= k->deadline_ns)
			connecting_end(k, NULL, -E_TIMEDOUT);
		else
			sim_world_schedule(sw->world, event,
					   MIN_OF(RETRY_NS, k->deadline_ns - now_ns));
		return;
	}
	struct sim_net *to = sim_switch_find(sw, k->host, k->port);
	if (to == NULL || sim_world_chance(sw->world, sw->weather.refuse_per_million))
		connecting_end(k, NULL, -E_CONNREFUSED);
	else
		connect_to(k, to);
}

static int sim_connect(struct net *base, const char *address, uint32_t timeout_ms,
		       void (*on_connect)(void *arg, struct net_conn *conn, int rc), void *arg)
{
	struct sim_net *net = sim_of(base);
	struct connecting *k = calloc(1, sizeof *k);

	if (k == NULL)
		return -E_NOMEM;
	if (!port_parse(address, k->host, &k->port)) {
		free(k);
		return -E_INVAL;
	}
	k->net = net;
	k->event.fn = on_connecting;
	k->on_connect = on_connect;
	k->arg = arg;
	k->deadline_ns = sim_world_now_ns(world_of(net)) + timeout_ms * SIM_MS;
	DL_APPEND(net->connecting, k);
	if (!net->is_dead)
		sim_world_schedule(world_of(net), &k->event, 2 * some_delay(net));
	return 0;
}

/* ---- life of a net --------------------------------------------------------------------------- */

/*
 * The other ends hear of the end behind what was sent before it; after a power cut what was sent is
 * lost, and the end waits like all that crosses a cut: until the host is back, or they give up.
 */
static void peers_part(struct sim_net *net, bool is_power_cut)
{
	struct net_conn *c;

	DL_FOREACH(net->conns, c) {
		conn_silence(c);
		if (c->peer == NULL)
			continue;
		if (is_power_cut)
			inbox_clear(c->peer);
		inbox_add_end(c->peer);
		c->peer->peer = NULL;
		c->peer = NULL;
	}
}

void sim_net_kill(struct net *base, bool is_power_cut)
{
	struct sim_net *net = sim_of(base);
	struct connecting *k;

	if (net->is_dead)
		return;
	if (is_power_cut)
		sim_switch_power(net->sw, net->host, false);
	peers_part(net, is_power_cut);
	net->is_dead = true;
	DL_FOREACH(net->connecting, k)
		sim_world_cancel(world_of(net), &k->event);
}

static void sim_destroy(struct net *base)
{
	struct sim_net *net = sim_of(base);
	struct net_listener *l, *next;

	sim_net_kill(base, false);
	while (net->connecting != NULL)
		connecting_end(net->connecting, NULL, -E_CANCELED);
	while (net->conns != NULL) {
		struct net_conn *c = net->conns;

		conn_over(c, -E_CANCELED);
		conn_free(c);
	}
	DL_FOREACH_SAFE(net->listeners, l, next)
		sim_listener_close(l);
	DL_DELETE(net->sw->nets, net);
	net->magic = 0;
	free(net);
}

static const struct net_ops SIM_NET_OPS = {
	.listen = sim_listen,
	.listener_close = sim_listener_close,
	.listener_address = sim_listener_address,
	.connect = sim_connect,
	.conn_events = sim_conn_events,
	.send = sim_send,
	.pause = sim_pause,
	.close = sim_close,
	.peer_name = sim_peer_name,
	.destroy = sim_destroy,
};

int sim_net_create(struct sim_switch *sw, struct loop *loop, struct buf_pool *pool,
		   const char *host, struct net **out)
{
	struct sim_net *net = calloc(1, sizeof *net);

	if (net == NULL)
		return -E_NOMEM;
	net->base = (struct net){ .ops = &SIM_NET_OPS, .loop = loop, .pool = pool };
	net->magic = SIM_NET_MAGIC;
	net->sw = sw;
	net->port_next = PORT_FIRST;
	snprintf(net->host, sizeof net->host, "%s", host);
	sim_switch_power(sw, host, true);
	DL_APPEND(sw->nets, net);
	*out = &net->base;
	return 0;
}

/* ---- what the switch asks -------------------------------------------------------------------- */

struct sim_net *sim_switch_find(struct sim_switch *sw, const char *host, uint16_t port)
{
	struct sim_net *net;

	DL_FOREACH(sw->nets, net)
		if (!net->is_dead && strcmp(net->host, host) == 0 && listener_find(net, port))
			return net;
	return NULL;
}

static bool matches(const char *pattern, const char *host)
{
	return strcmp(pattern, "*") == 0 || strcmp(pattern, host) == 0;
}

void sim_switch_break(struct sim_switch *sw, const char *a, const char *b)
{
	struct sim_net *net;
	struct net_conn *c;

	DL_FOREACH(sw->nets, net)
		DL_FOREACH(net->conns, c)
			if ((matches(a, net->host) && matches(b, c->remote_host)) ||
			    (matches(b, net->host) && matches(a, c->remote_host)))
				conn_reset(c);
}
