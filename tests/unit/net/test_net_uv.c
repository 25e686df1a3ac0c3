/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport over libuv on one host, by unix socket and by TCP: frames arrive whole and in
 * order, bad bytes end a connection and cost nothing, an empty pool and a paused receiver are
 * back-pressure.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "fs/hash/checksum.h"
#include "fs/net/net.h"
#include "tests/loop_until.h"

#define FRAMES_MAX 512

struct side {
	struct net_conn *conn;
	uint32_t frame_count, drained;
	uint64_t requests[FRAMES_MAX];
	uint32_t bulk_lens[FRAMES_MAX];
	bool is_closed;
	int close_rc, connect_rc;
	bool is_told;
	struct buf *kept[FRAMES_MAX]; /* bulk, while the test holds buffers back */
	bool keep;
	uint32_t pause_at; /* pause when so many frames came; 0: never */
};

struct world {
	struct loop *loop;
	struct buf_pool *send_pool, *pool;
	struct net *net;
	struct net_listener *listener;
	struct side client, server;
	struct loop_timer guard;
};

static struct world w;

static void on_frame(void *arg, struct net_frame *frame)
{
	struct side *s = arg;

	ck_assert_uint_lt(s->frame_count, FRAMES_MAX);
	s->requests[s->frame_count] = frame->header.request;
	s->bulk_lens[s->frame_count] = frame->header.bulk_len;
	buf_put(frame->message);
	if (s->keep)
		s->kept[s->frame_count] = frame->bulk;
	else
		buf_put(frame->bulk);
	s->frame_count++;
	if (s->frame_count == s->pause_at)
		w.net->ops->pause(s->conn, true);
}

static void on_close(void *arg, int rc)
{
	struct side *s = arg;

	ck_assert(!s->is_closed);
	s->is_closed = true;
	s->close_rc = rc;
	s->conn = NULL;
}

static void on_drain(void *arg)
{
	((struct side *)arg)->drained++;
}

static const struct net_conn_events EVENTS = {on_frame, on_close, on_drain};

static void on_accept(void *arg, struct net_conn *conn)
{
	struct side *s = arg;

	s->conn = conn;
	w.net->ops->conn_events(conn, &EVENTS, s);
}

static void on_connect(void *arg, struct net_conn *conn, int rc)
{
	struct side *s = arg;

	ck_assert(!s->is_told);
	s->is_told = true;
	s->connect_rc = rc;
	s->conn = conn;
	if (conn)
		w.net->ops->conn_events(conn, &EVENTS, s);
}

static const char *const TRANSPORTS[] = {"auto", "tcp"};

static void world_start_by(const char *transport, uint64_t pool_bytes)
{
	memset(&w, 0, sizeof(w));
	ck_assert_int_eq(loop_uv_create(1, &w.loop), 0);
	w.pool = buf_pool_create(pool_bytes);
	w.send_pool = buf_pool_create(MiB(32));
	ck_assert_int_eq(net_uv_create(w.loop, w.pool, transport, &w.net), 0);
	ck_assert_int_eq(
		w.net->ops->listen(w.net, "127.0.0.1:0", on_accept, &w.server, &w.listener), 0);
	loop_until_guard(w.loop, &w.guard, 20000);
}

/* By the transport of this run of the test. */
#define world_start(pool_bytes) world_start_by(TRANSPORTS[_i], pool_bytes)

static void world_stop(void)
{
	loop_timer_stop(w.loop, &w.guard);
	w.net->ops->destroy(w.net);
	loop_uv_destroy(w.loop);
	buf_pool_destroy(w.pool);
	buf_pool_destroy(w.send_pool);
}

static void world_connect(void)
{
	const char *address = w.net->ops->listener_address(w.listener);

	ck_assert_int_eq(w.net->ops->connect(w.net, address, 5000, on_connect, &w.client), 0);
	ck_assert(!w.client.is_told);
	RUN_UNTIL(w.client.is_told && w.server.conn);
	ck_assert_int_eq(w.client.connect_rc, 0);
}

static struct buf *bytes_of(uint32_t len, uint8_t fill)
{
	struct buf *buf = len ? buf_get(w.send_pool, len) : NULL;

	if (buf) {
		memset(buf->data, fill, len);
		buf->len = len;
	}
	return buf;
}

static int send_frame(struct net_conn *conn, uint64_t request, uint32_t message_len,
		      uint32_t bulk_len)
{
	struct net_frame f = {.header = {.type = 1,
					 .request = request,
					 .message_len = message_len,
					 .bulk_len = bulk_len}};

	f.message = bytes_of(message_len, (uint8_t)request);
	f.bulk = bytes_of(bulk_len, (uint8_t)~request);
	f.header.message_checksum = f.message ? checksum_of(f.message->data, message_len) : 0;
	f.header.bulk_checksum = f.bulk ? checksum_of(f.bulk->data, bulk_len) : 0;
	int rc = w.net->ops->send(conn, &f);
	if (rc < 0) {
		buf_put(f.message);
		buf_put(f.bulk);
	}
	return rc;
}

START_TEST(frames_of_all_sizes_arrive_in_order)
{
	static const uint32_t SIZES[] = {0, 1, 79, 4095, 4096, 4097, 60000, BULK_BYTES_MAX};
	uint32_t n = 0;

	world_start(MiB(32));
	world_connect();
	for (uint32_t i = 0; i < ARRAY_COUNT(SIZES); i++)
		for (uint32_t k = 0; k < ARRAY_COUNT(SIZES); k++)
			ck_assert_int_eq(send_frame(w.client.conn, n++,
						    MIN_OF(SIZES[i], MESSAGE_BYTES_MAX), SIZES[k]),
					 0);
	ck_assert_uint_eq(w.server.frame_count, 0);
	RUN_UNTIL(w.server.frame_count == n);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(w.server.requests[i], i);
		ck_assert_uint_eq(w.server.bulk_lens[i], SIZES[i % ARRAY_COUNT(SIZES)]);
	}
	ck_assert_int_eq(send_frame(w.server.conn, 7, 3, 0), 0);
	RUN_UNTIL(w.client.frame_count == 1);
	world_stop();
}
END_TEST

START_TEST(closing_is_told_to_both_sides_once)
{
	world_start(MiB(1));
	world_connect();
	w.net->ops->close(w.client.conn);
	ck_assert(!w.client.is_closed);
	RUN_UNTIL(w.client.is_closed && w.server.is_closed);
	ck_assert_int_eq(w.server.close_rc, -E_NOTCONN);
	world_stop();
}
END_TEST

START_TEST(connecting_to_a_closed_port_is_refused)
{
	char address[64];

	world_start(MiB(1));
	ck_assert(text_copy(address, sizeof address, w.net->ops->listener_address(w.listener)));
	w.net->ops->listener_close(w.listener);
	uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
	ck_assert_int_eq(w.net->ops->connect(w.net, address, 5000, on_connect, &w.client), 0);
	RUN_UNTIL(w.client.is_told);
	ck_assert_int_eq(w.client.connect_rc, -E_CONNREFUSED);
	ck_assert_ptr_null(w.client.conn);
	world_stop();
}
END_TEST

START_TEST(addresses_that_are_none_are_refused_at_once)
{
	static const char *const BAD[] = {
		"",	 ":1",	   "host",	   "127.0.0.1:", "127.0.0.1:65536",
		"::1:5", "[::1]5", "127.0.0.1:12x"};

	world_start(MiB(1));
	for (size_t i = 0; i < ARRAY_COUNT(BAD); i++)
		ck_assert_int_eq(w.net->ops->connect(w.net, BAD[i], 100, on_connect, &w.client),
				 -E_INVAL);
	world_stop();
}
END_TEST

START_TEST(a_name_is_resolved)
{
	char address[64];

	world_start(MiB(1));
	snprintf(address, sizeof(address), "localhost%s",
		 strrchr(w.net->ops->listener_address(w.listener), ':'));
	ck_assert_int_eq(w.net->ops->connect(w.net, address, 5000, on_connect, &w.client), 0);
	RUN_UNTIL(w.client.is_told);
	ck_assert_int_eq(w.client.connect_rc, 0);
	world_stop();
}
END_TEST

START_TEST(destroying_cancels_a_connect)
{
	world_start(MiB(1));
	ck_assert_int_eq(w.net->ops->connect(w.net, w.net->ops->listener_address(w.listener), 5000,
					     on_connect, &w.client),
			 0);
	world_stop();
	ck_assert(w.client.is_told);
	ck_assert_int_eq(w.client.connect_rc, -E_CANCELED);
}
END_TEST

START_TEST(a_full_queue_refuses_and_drains)
{
	uint32_t sent = 0;

	world_start(MiB(32));
	world_connect();
	w.net->ops->pause(w.server.conn, true);
	while (send_frame(w.client.conn, sent, 0, 60000) == 0)
		sent++;
	ck_assert_uint_eq(sent, MiB(8) / (60000 + FRAME_HEADER_BYTES));
	ck_assert_int_eq(send_frame(w.client.conn, 0, 0, 60000), -E_OVERLOADED);
	w.net->ops->pause(w.server.conn, false);
	RUN_UNTIL(w.server.frame_count == sent);
	ck_assert_uint_eq(w.client.drained, 1);
	world_stop();
}
END_TEST

START_TEST(a_pause_stops_between_frames_of_one_read)
{
	world_start(MiB(1));
	world_connect();
	w.server.pause_at = 3;
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_int_eq(send_frame(w.client.conn, i, 5, 5), 0);
	RUN_UNTIL(w.server.frame_count >= 3);
	for (int i = 0; i < 3; i++)
		uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
	ck_assert_uint_eq(w.server.frame_count, 3);
	w.net->ops->pause(w.server.conn, false);
	ck_assert_uint_eq(w.server.frame_count, 3);
	RUN_UNTIL(w.server.frame_count == 10);
	ck_assert_uint_eq(w.server.requests[9], 9);
	world_stop();
}
END_TEST

START_TEST(an_empty_pool_waits_for_a_buffer)
{
	world_start(3 * BUF_LARGE_BYTES);
	world_connect();
	w.server.keep = true;
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_int_eq(send_frame(w.client.conn, i, 0, 60000), 0);
	RUN_UNTIL(w.server.frame_count == 3);
	for (int i = 0; i < 20; i++)
		uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
	ck_assert_uint_eq(w.server.frame_count, 3);
	for (uint32_t i = 0; i < 8; i++) {
		RUN_UNTIL(w.server.frame_count > i);
		ck_assert_uint_eq(w.server.kept[i]->data[0], (uint8_t)~i);
		buf_put(w.server.kept[i]);
	}
	world_stop();
}
END_TEST

START_TEST(peers_of_one_host_meet_by_unix_socket_unless_tcp_is_asked_for)
{
	const char *prefix = _i == 0 ? "unix:" : "127.0.0.1:";

	world_start(MiB(1));
	world_connect();
	ck_assert_str_eq(w.net->ops->listener_address(w.listener),
			 strstr(w.net->ops->listener_address(w.listener), "127.0.0.1:"));
	ck_assert(strncmp(w.net->ops->peer_name(w.client.conn), prefix, strlen(prefix)) == 0);
	ck_assert(strncmp(w.net->ops->peer_name(w.server.conn), prefix, strlen(prefix)) == 0);
	world_stop();
}
END_TEST

START_TEST(a_listener_without_unix_socket_is_reached_by_tcp)
{
	struct buf_pool *pool = buf_pool_create(MiB(1));
	struct net *other;

	world_start_by("tcp", MiB(1));
	ck_assert_int_eq(net_uv_create(w.loop, pool, "auto", &other), 0);
	ck_assert_int_eq(other->ops->connect(other, w.net->ops->listener_address(w.listener), 5000,
					     on_connect, &w.client), 0);
	RUN_UNTIL(w.client.is_told && w.server.conn);
	ck_assert_int_eq(w.client.connect_rc, 0);
	ck_assert_int_eq(send_frame(w.server.conn, 1, 3, 9), 0);
	RUN_UNTIL(w.client.frame_count == 1);
	other->ops->destroy(other);
	RUN_UNTIL(w.client.is_closed);
	world_stop();
	buf_pool_destroy(pool);
}
END_TEST

/* --- bytes that are no frames, from a plain socket ---- */

static uv_tcp_t raw;
static uv_connect_t raw_connect;
static uv_write_t raw_write;
static uv_buf_t raw_bytes;
static bool raw_is_closed;

static void raw_closed(uv_handle_t *handle unused_arg)
{
	raw_is_closed = true;
}

static void raw_connected(uv_connect_t *connect, int status)
{
	ck_assert_int_eq(status, 0);
	uv_write(&raw_write, connect->handle, &raw_bytes, 1, NULL);
}

static int close_rc_after(void *bytes, uint32_t len)
{
	struct sockaddr_in a;
	const char *address;

	world_start_by("auto", MiB(1));
	address = w.net->ops->listener_address(w.listener);
	uv_ip4_addr("127.0.0.1", (int)strtol(strrchr(address, ':') + 1, NULL, 10), &a);
	uv_tcp_init(loop_uv_handle(w.loop), &raw);
	raw_bytes = uv_buf_init(bytes, len);
	raw_is_closed = false;
	uv_tcp_connect(&raw_connect, &raw, (struct sockaddr *)&a, raw_connected);
	RUN_UNTIL(w.server.is_closed);
	ck_assert_uint_eq(w.server.frame_count, 0);
	ck_assert_uint_eq(buf_pool_used_bytes(w.pool), 0);
	uv_close((uv_handle_t *)&raw, raw_closed);
	RUN_UNTIL(raw_is_closed);
	int rc = w.server.close_rc;
	world_stop();
	return rc;
}

START_TEST(garbage_ends_the_connection)
{
	char http[200] = "GET / HTTP/1.1\r\nHost: example\r\n\r\n";

	ck_assert_int_eq(close_rc_after(http, sizeof(http)), -E_BAD_MAGIC);
}
END_TEST

START_TEST(a_flipped_bit_in_a_header_ends_the_connection)
{
	struct frame_header h = {.type = 1, .request = 5};
	uint8_t bytes[FRAME_HEADER_BYTES];

	frame_header_encode(&h, bytes);
	bytes[9] ^= 4;
	ck_assert_int_eq(close_rc_after(bytes, sizeof(bytes)), -E_CORRUPT);
}
END_TEST

START_TEST(a_wrong_message_checksum_ends_the_connection)
{
	struct frame_header h = {.type = 1, .message_len = 8, .message_checksum = 1};
	uint8_t bytes[FRAME_HEADER_BYTES + 8] = {0};

	frame_header_encode(&h, bytes);
	ck_assert_int_eq(close_rc_after(bytes, sizeof(bytes)), -E_CORRUPT);
}
END_TEST

START_TEST(lengths_beyond_the_bound_end_the_connection)
{
	struct frame_header h = {.type = 1};
	uint8_t bytes[FRAME_HEADER_BYTES];
	uint32_t len = BULK_BYTES_MAX + 1;
	uint64_t checksum;

	frame_header_encode(&h, bytes);
	memcpy(bytes + 20, &len, sizeof(len));
	checksum = checksum_of(bytes, 72);
	memcpy(bytes + 72, &checksum, sizeof(checksum));
	ck_assert_int_eq(close_rc_after(bytes, sizeof(bytes)), -E_MALFORMED);
}
END_TEST

/* No descriptor is left to this process; the limit that was. */
static struct rlimit leave_no_descriptors(void)
{
	struct rlimit was, now;
	int next = dup(0);

	ck_assert_int_ge(next, 0);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	now = was;
	now.rlim_cur = (rlim_t)next;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	return was;
}

/* A blocking connect of a foreign program: the backlog takes it. */
static int knock(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *address = w.net->ops->listener_address(w.listener);
	uint64_t port = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(text_parse_u64(strrchr(address, ':') + 1, &port), 0);
	to.sin_port = htons((uint16_t)port);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

START_TEST(who_asks_while_descriptors_are_short_is_accepted_later)
{
	world_start(MiB(1));
	int fd = knock();
	struct rlimit was = leave_no_descriptors();

	for (uint32_t i = 0; i < 8; i++)
		uv_run(loop_uv_handle(w.loop), UV_RUN_NOWAIT);
	ck_assert_ptr_null(w.server.conn);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	RUN_UNTIL(w.server.conn);
	close(fd);
	RUN_UNTIL(w.server.is_closed);
	w.server.is_closed = false;
	world_connect();	/* who comes next */
	world_stop();
}
END_TEST

TEST_MAIN("net_uv",
	  tcase_add_loop_test(tc, who_asks_while_descriptors_are_short_is_accepted_later, 0, 2);
	  tcase_add_loop_test(tc, peers_of_one_host_meet_by_unix_socket_unless_tcp_is_asked_for, 0,
			      2);
	  tcase_add_test(tc, a_listener_without_unix_socket_is_reached_by_tcp);
	  tcase_add_loop_test(tc, frames_of_all_sizes_arrive_in_order, 0, 2);
	  tcase_add_loop_test(tc, closing_is_told_to_both_sides_once, 0, 2);
	  tcase_add_loop_test(tc, connecting_to_a_closed_port_is_refused, 0, 2);
	  tcase_add_test(tc, addresses_that_are_none_are_refused_at_once);
	  tcase_add_loop_test(tc, a_name_is_resolved, 0, 2);
	  tcase_add_loop_test(tc, destroying_cancels_a_connect, 0, 2);
	  tcase_add_loop_test(tc, a_full_queue_refuses_and_drains, 0, 2);
	  tcase_add_loop_test(tc, a_pause_stops_between_frames_of_one_read, 0, 2);
	  tcase_add_loop_test(tc, an_empty_pool_waits_for_a_buffer, 0, 2);
	  tcase_add_test(tc, garbage_ends_the_connection);
	  tcase_add_test(tc, a_flipped_bit_in_a_header_ends_the_connection);
	  tcase_add_test(tc, a_wrong_message_checksum_ends_the_connection);
	  tcase_add_test(tc, lengths_beyond_the_bound_end_the_connection))
