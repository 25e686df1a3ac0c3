/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: bytes to frames, frames to bytes.
 *
 * In: small frames are read many at a time into the net's staging area and copied out; the body of
 * a large one is read straight into its pool buffers. No buffer is taken before a header with a
 * good checksum asks for it, so garbage costs nothing (I8). An empty pool, or a receiver that
 * pauses, stops the reading (I11); the few bytes read already wait in the stash.
 *
 * Out: what is sent within one turn of the loop leaves in one write, at its end; one write at a
 * time.
 */
#define LOG_MODULE "net"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/fault.h"
#include "fs/base/metrics.h"
#include "fs/base/log.h"
#include "fs/hash/checksum.h"
#include "fs/net/net_local.h"
#include "fs/net/net_uv_internal.h"

#define SPARE_MAX	 256u	/* send entries that a net keeps */
#define DIRECT_BYTES_MIN KiB(4) /* smaller rests of a body are cheaper to copy than to read alone  \
				 */
#define KEEPALIVE_S 15u

static void conn_read(struct net_conn *c);

/* --- the end ---- */

static void out_free(struct net_uv *net, struct net_out *out)
{
	buf_put(out->message);
	buf_put(out->bulk);
	if (net->spare_count == SPARE_MAX) {
		free(out);
		return;
	}
	LL_PREPEND(net->spare, out);
	net->spare_count++;
}

static void outs_free(struct net_uv *net, struct net_out **list)
{
	while (*list) {
		struct net_out *out = *list;

		DL_DELETE(*list, out);
		out_free(net, out);
	}
}

static void conn_closed(uv_handle_t *handle)
{
	struct net_conn *c = CHECKED_CAST(handle->data, struct net_conn, NET_CONN_MAGIC);
	struct net_uv *net = c->net;

	DL_DELETE(net->conns, c);
	if (c->events)
		c->events->on_close(c->arg, c->close_rc);
	c->magic = 0;
	free(c);
	net_uv_unref(net);
}

void net_uv_conn_fail(struct net_conn *c, int rc)
{
	if (c->is_closing)
		return;
	c->is_closing = true;
	c->close_rc = rc;
	c->is_reading = false;
	uv_close(&c->uv.handle, conn_closed);
	/* The socket is closed: nobody reads the buffers of an unfinished write any more. */
	outs_free(c->net, &c->queue);
	outs_free(c->net, &c->writing);
	buf_put(c->in.message);
	buf_put(c->in.bulk);
	c->in.message = c->in.bulk = NULL;
	free(c->stash);
	c->stash = NULL;
}

/* The other side does not speak as we do: say so once, and end it. */
static void conn_refuse(struct net_conn *c, int rc)
{
	log_warn("cannot understand a peer, closing peer=%s: %s", c->name, error_text(rc));
	METRIC_INC(frames_rejected);
	net_uv_conn_fail(c, rc);
}

void net_uv_conn_close(struct net_conn *c)
{
	net_uv_conn_fail(c, -E_NOTCONN);
}

/* --- in ---- */

static bool conn_may_deliver(const struct net_conn *c)
{
	return !c->is_closing && !c->is_paused && !c->is_starved;
}

/* Both buffers or none, so that two connections cannot hold one each and wait for ever. */
static bool conn_take_buffers(struct net_conn *c)
{
	const struct frame_header *h = &c->in.header;

	if (h->message_len)
		c->in.message = buf_get(c->net->messages, h->message_len);
	if (h->bulk_len && (!h->message_len || c->in.message))
		c->in.bulk = buf_get(c->net->base.pool, h->bulk_len);
	c->has_buffers = (!h->message_len || c->in.message) && (!h->bulk_len || c->in.bulk);
	if (c->has_buffers)
		return true;
	buf_put(c->in.message);
	c->in.message = NULL;
	c->is_starved = true; /* until the pool's waiter runs */
	return false;
}

static int conn_check_frame(const struct net_frame *f)
{
	const struct frame_header *h = &f->header;

	if (f->message && checksum_of(f->message->data, h->message_len) != h->message_checksum)
		return -E_CORRUPT;
	if (f->bulk && h->bulk_checksum != 0 &&
	    checksum_of(f->bulk->data, h->bulk_len) != h->bulk_checksum)
		return -E_CORRUPT;
	return 0;
}

static void conn_deliver(struct net_conn *c)
{
	struct net_frame frame = c->in;
	int rc = conn_check_frame(&frame);

	if (rc < 0) {
		conn_refuse(c, rc);
		return;
	}
	if (frame.message)
		frame.message->len = frame.header.message_len;
	if (frame.bulk)
		frame.bulk->len = frame.header.bulk_len;
	METRIC_INC(frames_in);
	METRIC_ADD(bytes_in, FRAME_HEADER_BYTES + frame.header.message_len + frame.header.bulk_len);
	c->last_was_large = frame.header.bulk_len >= DIRECT_BYTES_MIN;
	c->in = (struct net_frame){0};
	c->header_got = c->message_got = c->bulk_got = 0;
	c->has_buffers = false;
	c->events->on_frame(c->arg, &frame);
}

static bool conn_has_header(const struct net_conn *c)
{
	return c->header_got == FRAME_HEADER_BYTES;
}

/* Where the next byte of the body belongs; NULL, and no room, if the body is complete. */
static uint8_t *conn_body_place(struct net_conn *c, uint32_t *room)
{
	const struct frame_header *h = &c->in.header;

	if (c->message_got < h->message_len) {
		*room = h->message_len - c->message_got;
		return c->in.message->data + c->message_got;
	}
	*room = h->bulk_len - c->bulk_got;
	return *room ? c->in.bulk->data + c->bulk_got : NULL;
}

/* `len` bytes have been put where conn_body_place() said. */
static void conn_body_took(struct net_conn *c, uint32_t len)
{
	if (c->message_got < c->in.header.message_len)
		c->message_got += len;
	else
		c->bulk_got += len;
}

static uint32_t conn_take_header(struct net_conn *c, const uint8_t *bytes, uint32_t len)
{
	uint32_t n = MIN_OF(len, FRAME_HEADER_BYTES - c->header_got);

	memcpy(c->header_bytes + c->header_got, bytes, n);
	c->header_got += n;
	if (conn_has_header(c)) {
		int rc = frame_header_decode(c->header_bytes, &c->in.header);
		if (rc < 0)
			conn_refuse(c, rc);
	}
	return n;
}

/* Parse until the bytes are used up or delivery must wait; returns how many were used. */
static uint32_t conn_consume(struct net_conn *c, const uint8_t *bytes, uint32_t len)
{
	uint32_t used = 0;

	while (conn_may_deliver(c)) {
		uint32_t room;

		if (!conn_has_header(c)) {
			if (used == len)
				break;
			used += conn_take_header(c, bytes + used, len - used);
			continue;
		}
		if (!c->has_buffers && !conn_take_buffers(c))
			break;
		uint8_t *place = conn_body_place(c, &room);
		if (!place) {
			conn_deliver(c);
			continue;
		}
		if (used == len)
			break;
		uint32_t n = MIN_OF(len - used, room);
		memcpy(place, bytes + used, n);
		conn_body_took(c, n);
		used += n;
	}
	return used;
}

static void conn_stash(struct net_conn *c, const uint8_t *bytes, uint32_t len)
{
	if (len == 0 || c->is_closing)
		return;
	ASSERT(!c->stash);
	c->stash = malloc(len);
	if (!c->stash) {
		net_uv_conn_fail(c, -E_NOMEM);
		return;
	}
	memcpy(c->stash, bytes, len);
	c->stash_at = 0;
	c->stash_len = len;
}

static void on_alloc(uv_handle_t *handle, size_t suggested unused_arg, uv_buf_t *out)
{
	struct net_conn *c = CHECKED_CAST(handle->data, struct net_conn, NET_CONN_MAGIC);
	uint32_t room = 0;
	uint8_t *place = c->has_buffers ? conn_body_place(c, &room) : NULL;

	if (room >= DIRECT_BYTES_MIN) {
		*out = uv_buf_init((char *)place, room);
		return;
	}
	*out = uv_buf_init((char *)c->net->staging,
			   c->last_was_large ? NET_STAGING_BYTES_LARGE : NET_STAGING_BYTES);
}

static void conn_stop_reading(struct net_conn *c)
{
	if (!c->is_reading)
		return;
	uv_read_stop(&c->uv.stream);
	c->is_reading = false;
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
	struct net_conn *c = CHECKED_CAST(stream->data, struct net_conn, NET_CONN_MAGIC);
	const uint8_t *bytes = (const uint8_t *)buf->base;
	uint32_t len = nread > 0 ? (uint32_t)nread : 0, used = len;

	if (c->is_closing)
		return;
	if (nread < 0) {
		net_uv_conn_fail(c, net_uv_error((int)nread));
		return;
	}
	if (bytes == c->net->staging) {
		used = conn_consume(c, bytes, len);
	} else {
		conn_body_took(c, len);
		(void)conn_consume(c, NULL, 0); /* no bytes: delivers if the frame is complete */
	}
	conn_stash(c, bytes + used, len - used);
	if (!conn_may_deliver(c))
		conn_stop_reading(c);
}

static void conn_read(struct net_conn *c)
{
	if (c->is_reading || !conn_may_deliver(c))
		return;
	int rc = uv_read_start(&c->uv.stream, on_alloc, on_read);
	if (rc < 0)
		net_uv_conn_fail(c, net_uv_error(rc));
	else
		c->is_reading = true;
}

/* Reading may go on: first what was read already. */
static void conn_resume(struct net_conn *c)
{
	if (c->is_reading || !conn_may_deliver(c))
		return;
	/* Out of its place meanwhile: a callback may close the connection, which frees the stash.
	 */
	uint8_t *stash = c->stash;
	c->stash = NULL;
	uint32_t used = c->stash_at + conn_consume(c, stash ? stash + c->stash_at : NULL,
						   stash ? c->stash_len - c->stash_at : 0);
	if (stash && used < c->stash_len && !c->is_closing) {
		c->stash = stash;
		c->stash_at = used;
	} else {
		free(stash);
		c->stash_at = c->stash_len = 0;
	}
	conn_read(c);
}

void net_uv_conn_pause(struct net_conn *c, bool paused)
{
	c->is_paused = paused;
	if (paused)
		conn_stop_reading(c);
	else if (c->is_started) {
		c->has_work = true;
		net_uv_want_turn(c->net);
	}
}

/* --- out ---- */

/* What stood in `writing` has left. */
static void conn_sent(struct net_conn *c)
{
	struct net_out *out;

	DL_FOREACH (c->writing, out)
		c->queued_bytes -= out->bytes;
	outs_free(c->net, &c->writing);
}

static void conn_flush(struct net_conn *c);

static void on_written(uv_write_t *write, int status)
{
	struct net_conn *c = CHECKED_CAST(write->data, struct net_conn, NET_CONN_MAGIC);

	c->is_writing = false;
	if (c->is_closing)
		return;
	if (status < 0) {
		net_uv_conn_fail(c, net_uv_error(status));
		return;
	}
	conn_sent(c);
	conn_flush(c);
}

static unsigned out_iov(const struct net_out *out, uv_buf_t iov[3])
{
	unsigned n = 0;

	iov[n++] = uv_buf_init((char *)out->header, FRAME_HEADER_BYTES);
	if (out->message)
		iov[n++] = uv_buf_init((char *)out->message->data, out->message->len);
	if (out->bulk)
		iov[n++] = uv_buf_init((char *)out->bulk->data, out->bulk->len);
	return n;
}

/* Move a batch of frames from the queue to `writing`; the number of pieces in iov. */
static unsigned conn_gather(struct net_conn *c, uv_buf_t iov[3 * NET_BATCH_FRAMES])
{
	unsigned n = 0;

	for (unsigned i = 0; c->queue && i < NET_BATCH_FRAMES; i++) {
		struct net_out *out = c->queue;

		n += out_iov(out, iov + n);
		DL_DELETE(c->queue, out);
		DL_APPEND(c->writing, out);
	}
	return n;
}

/* Skip what has left; the number of pieces that have not. */
static unsigned iov_advance(uv_buf_t *iov, unsigned count, size_t bytes)
{
	unsigned first = 0;

	while (first < count && bytes >= iov[first].len)
		bytes -= iov[first++].len;
	for (unsigned i = first; i < count; i++)
		iov[i - first] = iov[i];
	if (first < count) {
		iov[0].base += bytes;
		iov[0].len -= bytes;
	}
	return count - first;
}

/*
 * Mostly the socket takes all at once: a request, its callback and a look at the poll are needed
 * only for what it does not take.
 */
static void conn_write(struct net_conn *c)
{
	uv_buf_t iov[3 * NET_BATCH_FRAMES];
	unsigned n = conn_gather(c, iov);
	ASSERT(n > 0);
	int rc = uv_try_write(&c->uv.stream, iov, n);

	if (rc >= 0)
		n = iov_advance(iov, n, (size_t)rc);
	if (n == 0) {
		conn_sent(c);
		return;
	}
	c->write.data = c;
	if (rc >= 0 || rc == UV_EAGAIN)
		rc = uv_write(&c->write, &c->uv.stream, iov, n, on_written);
	if (rc < 0)
		net_uv_conn_fail(c, net_uv_error(rc));
	else
		c->is_writing = true;
}

static void conn_flush(struct net_conn *c)
{
	while (c->queue && !c->is_writing && !c->is_closing && c->is_started)
		conn_write(c);
	if (c->wants_drain && !c->is_closing && c->queued_bytes < NET_SEND_BYTES_MAX / 2) {
		c->wants_drain = false;
		c->events->on_drain(c->arg);
	}
}

static struct net_out *out_get(struct net_uv *net)
{
	struct net_out *out = net->spare;

	if (!out)
		return calloc(1, sizeof(*out));
	LL_DELETE(net->spare, out);
	net->spare_count--;
	return out;
}

int net_uv_conn_send(struct net_conn *c, struct net_frame *frame)
{
	const struct frame_header *h = &frame->header;
	uint32_t bytes = FRAME_HEADER_BYTES + h->message_len + h->bulk_len;

	ASSERT(h->message_len <= (frame->message ? frame->message->len : 0));
	ASSERT(h->message_len + h->bulk_len == (frame->message ? frame->message->len : 0) +
						       (frame->bulk ? frame->bulk->len : 0));
	if (c->is_closing)
		return -E_NOTCONN;
	if (FAULT(rpc_send)) {
		net_uv_conn_fail(c, -E_IO);
		return -E_NOTCONN;
	}
	if (c->queued_bytes + bytes > NET_SEND_BYTES_MAX) {
		c->wants_drain = true;
		return -E_OVERLOADED;
	}
	struct net_out *out = out_get(c->net);
	if (!out) {
		net_uv_conn_fail(c, -E_NOMEM);
		return -E_NOTCONN;
	}
	frame_header_encode(h, out->header);
	out->message = frame->message;
	out->bulk = frame->bulk;
	out->bytes = bytes;
	DL_APPEND(c->queue, out);
	c->queued_bytes += bytes;
	METRIC_INC(frames_out);
	METRIC_ADD(bytes_out, bytes);
	c->has_work = true;
	net_uv_want_turn(c->net);
	return 0;
}

/* --- life ---- */

void net_uv_conn_turn(struct net_conn *c)
{
	if (!c->has_work || c->is_closing || !c->is_started)
		return;
	c->has_work = false;
	conn_flush(c);
	conn_resume(c);
}

void net_uv_conn_events(struct net_conn *c, const struct net_conn_events *events, void *arg)
{
	c->events = events;
	c->arg = arg;
}

const char *net_uv_conn_name(struct net_conn *c)
{
	return c->name;
}

int net_uv_conn_create(struct net_uv *net, bool is_local, struct net_conn **out)
{
	struct net_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return -E_NOMEM;
	c->magic = NET_CONN_MAGIC;
	c->net = net;
	c->is_local = is_local;
	int rc = is_local ? uv_pipe_init(net->uv, &c->uv.local, 0) :
			    uv_tcp_init(net->uv, &c->uv.tcp);
	if (rc < 0) {
		free(c);
		return net_uv_error(rc);
	}
	c->uv.handle.data = c;
	DL_APPEND(net->conns, c);
	net_uv_ref(net);
	*out = c;
	return 0;
}

static int conn_fd(const struct net_conn *c)
{
	uv_os_fd_t fd;

	return uv_fileno(&c->uv.handle, &fd) == 0 ? fd : -1;
}

void net_uv_conn_set_name(struct net_conn *c)
{
	struct sockaddr_storage a = {0};
	int len = sizeof(a);

	if (c->is_local) {
		(void)snprintf(c->name, sizeof(c->name), "unix:%d", net_local_peer(conn_fd(c)));
		return;
	}
	(void)uv_tcp_getpeername(&c->uv.tcp, (struct sockaddr *)&a, &len); /* gone already: "?" */
	net_address_print(&a, c->name);
}

void net_uv_conn_start(struct net_conn *c)
{
	if (c->is_closing)
		return;
	/* Hints: a connection without them is slower, not wrong. */
	if (c->is_local) {
		net_local_tune(conn_fd(c));
	} else {
		(void)uv_tcp_nodelay(&c->uv.tcp, 1);
		(void)uv_tcp_keepalive(&c->uv.tcp, 1, KEEPALIVE_S);
	}
	c->is_started = true;
	if (!c->events) { /* whoever was offered it did not want it */
		net_uv_conn_fail(c, -E_NOTCONN);
		return;
	}
	c->has_work = true; /* frames may be queued already; reading starts with the turn */
	net_uv_want_turn(c->net);
}
