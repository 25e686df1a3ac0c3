/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shipping the metadata to chunk servers.
 *
 * For each holder one thing happens at a time: ask what it has, read some pieces here, send them
 * together, so that they are synced together there. A round has a goal, what was durable when it
 * began, and ends when the journal there reaches it; a round begins every ROUND_MS if there is
 * news. Between rounds the newest snapshot goes over, some pieces at a time.
 *
 * Whatever goes wrong, the holder is asked again what it has: a restart of either side is nothing
 * special. A file is believed to be there up to its last byte but one: sending that again makes the
 * holder sync it.
 */
#include "metadata-server/copies.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/log.h"
#include "fs/base/text.h"
#include "metadata-server/serve_internal.h"

#define LOG_MODULE "copies"

#define ROUND_MS	500u
#define CALL_MS		5000u
#define RETRY_MS	500u
#define PATIENCE_MS	10000u	/* of failures, then another server is chosen */
#define AVOID_MS	60000u	/* the one that failed is not chosen again before */
#define AVOIDED_MAX	16u
#define PIECE_BYTES	65536u
#define PIECES_MAX	16u	/* read and sent together */
#define NAME_BYTES	64u

_Static_assert(PIECE_BYTES <= BULK_BYTES_MAX, "a piece fits a frame");

/* What is being copied: a file here, its name there, how far it is there. */
struct stream {
	uint64_t key;		/* of a journal file its first record, of a snapshot its number */
	uint64_t offset;
};

struct holder {
	struct ms_copies *copies;
	server_no server;	/* 0: free */
	bool is_leaving;	/* freed when its worker is back */
	struct rpc_peer *peer;
	char address[SERVER_ADDRESS_BYTES_MAX];
	struct rpc_call calls[PIECES_MAX];
	uint32_t call_count;	/* of them, not answered yet */
	int put_rc;		/* of those that were: the first error */
	struct loop_work work;
	bool is_working;
	uint64_t retry_ms;	/* not before */
	uint64_t failing_since_ms;	/* 0: not */

	bool is_listed;		/* what is below is true */
	bool has_snapshot;	/* whole, and the journal goes on from it */
	uint64_t snapshot;	/* its number */
	struct stream journal;
	struct stream sending;	/* a snapshot under way */
	bool is_sending;
	bool is_checked;	/* that snapshot was read and verified here */

	bool in_round;
	uint64_t goal_number, goal_first, goal_bytes, goal_ms;
	uint64_t held;		/* all up to this number, if has_snapshot */
	uint64_t fresh_ms;	/* when that was all; 0: never */

	/* of the read under way, on a worker */
	struct disk *disk;
	char path[NAME_BYTES];
	char name[NAME_BYTES];	/* there */
	uint64_t read_offset;
	uint32_t read_bytes;
	bool is_snapshot, is_last, wants_check;
	int read_rc;
	uint8_t *pieces;
};

struct avoided {
	server_no server;
	uint64_t until_ms;
};

struct ms_copies {
	struct ms_server *server;
	uint32_t wanted;
	bool is_dead;
	struct holder holders[MS_COPIES_MAX];
	struct avoided avoided[AVOIDED_MAX];
	uint32_t next_avoided;
};

static void holder_step(struct holder *h);

static uint64_t now_ms(const struct ms_copies *c)
{
	return loop_now_ms(c->server->options.loop);
}

/* --- the life of a holder --------------------------------------------------------------------- */

static void copies_free(struct ms_copies *c)
{
	for (uint32_t i = 0; i < MS_COPIES_MAX; i++)
		if (c->holders[i].is_working)
			return;
	for (uint32_t i = 0; i < MS_COPIES_MAX; i++)
		free(c->holders[i].pieces);
	free(c);
}

static void holder_clear(struct holder *h)
{
	struct ms_copies *c = h->copies;

	free(h->pieces);
	*h = (struct holder){ .copies = c };
}

static void holder_end(struct holder *h)
{
	for (uint32_t i = 0; i < PIECES_MAX; i++)
		rpc_cancel(&h->calls[i]);	/* one that is not under way does not mind */
	h->call_count = 0;
	if (h->peer)
		rpc_peer_destroy(h->peer);
	h->peer = NULL;
	h->is_leaving = true;
	if (!h->is_working)
		holder_clear(h);
}

static void avoid(struct ms_copies *c, server_no server)
{
	c->avoided[c->next_avoided] = (struct avoided){ server, now_ms(c) + AVOID_MS };
	c->next_avoided = (c->next_avoided + 1) % AVOIDED_MAX;
}

static bool is_avoided(const struct ms_copies *c, server_no server)
{
	for (uint32_t i = 0; i < AVOIDED_MAX; i++)
		if (c->avoided[i].server == server && c->avoided[i].until_ms > now_ms(c))
			return true;
	return false;
}

/* Forget what we thought of it, and ask again in a moment. */
static void holder_failed(struct holder *h, int rc)
{
	uint64_t now = now_ms(h->copies);

	log_debug("copy of the metadata on server %" PRIu32 " fails: %s", h->server,
		  error_text(rc));
	h->is_listed = h->in_round = h->is_sending = h->has_snapshot = false;
	h->retry_ms = now + RETRY_MS;
	if (h->failing_since_ms == 0)
		h->failing_since_ms = now;
}

/* --- names ------------------------------------------------------------------------------------ */

static void journal_name(char out[NAME_BYTES], uint64_t term, uint64_t first)
{
	(void)snprintf(out, NAME_BYTES, "%" PRIu64 "-%" PRIu64 ".journal", term, first);
}

static void snapshot_name(char out[NAME_BYTES], uint64_t term, uint64_t number)
{
	(void)snprintf(out, NAME_BYTES, "%" PRIu64 "-%" PRIu64 ".snapshot", term, number);
}

/* --- what does it have? ----------------------------------------------------------------------- */

static const Wire__MetaFile *find_file(const Wire__MetaListReply *reply, const char *name)
{
	for (size_t i = 0; i < reply->n_files; i++)
		if (reply->files[i]->complete && strcmp(reply->files[i]->name, name) == 0)
			return reply->files[i];
	return NULL;
}

static bool has_snapshot(const Wire__MetaListReply *reply, const struct ms_snapshot_info *info)
{
	const Wire__MetaFile *file;
	char name[NAME_BYTES];

	snapshot_name(name, info->term, info->number);
	file = info->bytes ? find_file(reply, name) : NULL;
	return file && file->bytes == info->bytes;
}

/* The journal's file `first` there: where to go on. */
static uint64_t journal_offset(const Wire__MetaListReply *reply,
			       const struct ms_journal_part_view *part)
{
	const Wire__MetaFile *file;
	char name[NAME_BYTES];

	journal_name(name, part->term, part->first);
	file = find_file(reply, name);
	return file && file->bytes > 0 ? MIN_OF(file->bytes, part->bytes) - 1 : 0;
}

static bool take_list(struct holder *h, const Wire__MetaListReply *reply)
{
	struct ms_server *s = h->copies->server;
	const struct ms_snapshotter *t = &s->snapshotter;
	struct ms_journal_part_view part;

	h->has_snapshot = true;
	if (has_snapshot(reply, &t->newest))
		h->snapshot = t->newest.number;
	else if (has_snapshot(reply, &t->before))
		h->snapshot = t->before.number;
	else
		h->has_snapshot = false;
	if (!h->has_snapshot)
		h->snapshot = t->newest.number;	/* it will be sent */
	if (!ms_journal_part(s->journal, h->snapshot + 1, &part))
		return false;
	/* Files that are whole there need no look. */
	while (part.next && journal_offset(reply, &part) + 1 == part.bytes) {
		h->journal = (struct stream){ part.first, part.bytes };
		if (!ms_journal_part(s->journal, part.next, &part))
			return false;
	}
	h->journal = (struct stream){ part.first, part.bytes ? journal_offset(reply, &part) : 0 };
	return true;
}

static void list_done(struct rpc_call *call)
{
	struct holder *h = call->user;

	h->call_count--;
	if (call->rc < 0 || !call->reply) {
		holder_failed(h, call->rc < 0 ? call->rc : -E_MALFORMED);
		return;
	}
	if (!take_list(h, (const Wire__MetaListReply *)(const void *)call->reply)) {
		holder_failed(h, -E_NOENT);	/* nothing to copy yet */
		return;
	}
	h->is_listed = true;
	holder_step(h);
}

static void call_begin(struct holder *h, uint16_t type, const ProtobufCMessage *request,
		       struct buf *bulk, void (*done)(struct rpc_call *call))
{
	struct rpc_call *call = &h->calls[h->call_count++];

	*call = (struct rpc_call){ .type = type, .request = request, .bulk = bulk,
				   .deadline_ms = CALL_MS, .done = done, .user = h };
	rpc_call(h->peer, call);
}

static void ask(struct holder *h)
{
	Wire__MetaList list = WIRE__META_LIST__INIT;

	call_begin(h, MSG_META_LIST, &list.base, NULL, list_done);
}

/* --- sending pieces --------------------------------------------------------------------------- */

static void snapshot_arrived(struct holder *h)
{
	h->is_sending = false;
	h->has_snapshot = true;
	h->snapshot = h->sending.key;
	log_info("server %" PRIu32 " has a copy of snapshot number=%" PRIu64, h->server,
		 h->snapshot);
}

static void put_done(struct rpc_call *call)
{
	struct holder *h = call->user;
	struct stream *stream = h->is_snapshot ? &h->sending : &h->journal;

	if (call->rc < 0 && h->put_rc == 0)
		h->put_rc = call->rc;
	if (--h->call_count > 0)
		return;
	if (h->put_rc < 0) {
		holder_failed(h, h->put_rc);
		return;
	}
	if (h->is_snapshot)
		h->failing_since_ms = 0;
	stream->offset = h->read_offset + h->read_bytes;
	if (h->is_snapshot && h->is_last)
		snapshot_arrived(h);
	holder_step(h);
}

/* The piece that begins `from` bytes behind what was read; false: no buffer is free. */
static bool put_one(struct holder *h, uint32_t from)
{
	Wire__MetaPut msg = WIRE__META_PUT__INIT;
	struct buf *bulk = buf_get(h->copies->server->options.pool, PIECE_BYTES);

	if (!bulk)
		return false;
	bulk->len = MIN_OF(h->read_bytes - from, PIECE_BYTES);
	memcpy(bulk->data, h->pieces + from, bulk->len);
	msg.name = h->name;
	msg.offset = h->read_offset + from;
	msg.last = h->is_last && from + bulk->len == h->read_bytes;
	call_begin(h, MSG_META_PUT, &msg.base, bulk, put_done);
	buf_put(bulk);
	return true;
}

static void put(struct holder *h)
{
	uint32_t sent = 0;

	h->put_rc = 0;
	while (sent < h->read_bytes && put_one(h, sent))
		sent += MIN_OF(h->read_bytes - sent, PIECE_BYTES);
	if (sent == 0) {
		holder_failed(h, -E_OVERLOADED);
		return;
	}
	h->is_last &= sent == h->read_bytes;	/* the rest is read again */
	h->read_bytes = sent;
}

static int check_snapshot(struct holder *h)
{
	struct snapshot_header found;

	return h->wants_check ? ms_snapshot_read(h->disk, h->sending.key, &found, NULL, NULL) : 0;
}

static void read_run(struct loop_work *work)
{
	struct holder *h = container_of(work, struct holder, work);
	struct disk_file *file;

	if (h->copies->is_dead) {
		h->read_rc = -E_SHUTDOWN;
		return;
	}
	int rc = check_snapshot(h);

	if (rc >= 0)
		rc = disk_open(h->disk, h->path, DISK_READ, &file);
	if (rc >= 0) {
		rc = disk_read(file, h->pieces, h->read_bytes, h->read_offset);
		disk_close(file);
		if (rc >= 0 && (uint32_t)rc < h->read_bytes)
			rc = -E_CORRUPT;
	}
	h->read_rc = rc;
}

static void read_done(struct loop_work *work)
{
	struct holder *h = container_of(work, struct holder, work);
	struct ms_copies *c = h->copies;

	h->is_working = false;
	if (c->is_dead) {
		copies_free(c);
		return;
	}
	if (h->is_leaving) {
		holder_clear(h);
	} else if (h->read_rc < 0) {
		holder_failed(h, h->read_rc);	/* trimmed or dropped meanwhile, maybe */
	} else {
		h->is_checked |= h->wants_check;
		put(h);
	}
	ms_server_stop_check(c->server);
}

static void read_begin(struct holder *h, uint64_t offset, uint64_t end)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(h->copies->server->journal, disks);

	if (!h->pieces)
		h->pieces = malloc(PIECES_MAX * PIECE_BYTES);
	if (count == 0 || !h->pieces) {
		holder_failed(h, count ? -E_NOMEM : -E_IO);
		return;
	}
	h->disk = disks[0];
	h->read_offset = offset;
	h->read_bytes = (uint32_t)MIN_OF(end - offset, PIECES_MAX * PIECE_BYTES);
	h->is_working = true;
	h->work.run = read_run;
	h->work.done = read_done;
	h->work.is_owned = true;
	loop_work(h->copies->server->options.loop, &h->work);
}

/* --- the journal ------------------------------------------------------------------------------ */

static bool round_begin(struct holder *h)
{
	struct ms_journal *j = h->copies->server->journal;
	struct ms_journal_part_view tail;

	if (!ms_journal_part(j, UINT64_MAX, &tail))
		return false;
	h->in_round = true;
	h->goal_ms = now_ms(h->copies);
	h->goal_number = ms_journal_durable(j);
	h->goal_first = tail.first;
	h->goal_bytes = tail.bytes;
	return true;
}

static void round_end(struct holder *h)
{
	h->in_round = false;
	h->held = h->goal_number;
	h->fresh_ms = h->goal_ms;
	if (h->has_snapshot)
		h->failing_since_ms = 0;
}

/* Send the next piece of the journal, or find that there is none; false: nothing was begun. */
static bool journal_step(struct holder *h)
{
	struct ms_journal *j = h->copies->server->journal;
	struct ms_journal_part_view part;
	uint64_t end;

	for (;;) {
		if (!ms_journal_part(j, h->journal.key, &part) || part.first != h->journal.key) {
			holder_failed(h, -E_NOENT);	/* trimmed: it fell too far behind */
			return true;
		}
		end = part.first == h->goal_first ? h->goal_bytes : part.bytes;
		if (h->journal.offset < end)
			break;
		if (part.first >= h->goal_first) {
			round_end(h);
			return false;
		}
		h->journal = (struct stream){ part.next, 0 };
	}
	(void)ms_journal_name(part.first, h->path);
	journal_name(h->name, part.term, part.first);
	h->is_snapshot = h->wants_check = false;
	h->is_last = true;
	read_begin(h, h->journal.offset, end);
	return true;
}

/* --- snapshots -------------------------------------------------------------------------------- */

static bool snapshot_step(struct holder *h)
{
	const struct ms_snapshotter *t = &h->copies->server->snapshotter;
	const struct ms_snapshot_info *info = &t->newest;

	if (info->bytes == 0 || (h->has_snapshot && h->snapshot >= info->number))
		return false;
	if (h->is_sending && t->before.bytes && h->sending.key == t->before.number)
		info = &t->before;	/* begun when it was the newest, and still there */
	if (!h->is_sending || h->sending.key != info->number) {
		h->is_sending = true;
		h->is_checked = false;
		h->sending = (struct stream){ info->number, 0 };
	}
	(void)ms_snapshot_name(info->number, h->path);
	snapshot_name(h->name, info->term, info->number);
	h->is_snapshot = true;
	h->wants_check = !h->is_checked;
	h->is_last = info->bytes - h->sending.offset <= PIECES_MAX * PIECE_BYTES;
	read_begin(h, h->sending.offset, info->bytes);
	return true;
}

static void holder_step(struct holder *h)
{
	uint64_t now = now_ms(h->copies);

	if (h->call_count > 0 || h->is_working || h->is_leaving || now < h->retry_ms ||
	    h->copies->server->is_stopping)
		return;
	if (!h->is_listed) {
		ask(h);
		return;
	}
	if (!h->in_round && (h->fresh_ms == 0 || now - h->fresh_ms >= ROUND_MS) && !round_begin(h))
		return;
	if (h->in_round && journal_step(h))
		return;
	(void)snapshot_step(h);
}

/* --- who holds them --------------------------------------------------------------------------- */

static bool is_usable(const struct server_row *row)
{
	return row && row->state <= SERVER_SUSPECT;
}

static struct holder *find_holder(struct ms_copies *c, server_no server)
{
	for (uint32_t i = 0; i < c->wanted; i++)
		if (c->holders[i].server == server && !c->holders[i].is_leaving)
			return &c->holders[i];
	return NULL;
}

static bool is_host_used(struct ms_copies *c, const struct map *map, const char *host)
{
	for (uint32_t i = 0; i < c->wanted; i++) {
		const struct holder *h = &c->holders[i];
		const struct server_row *row =
			h->server && !h->is_leaving ? map_server(map, h->server) : NULL;
		if (row && strcmp(row->host, host) == 0)
			return true;
	}
	return false;
}

/* On a host of its own if there is one; else any. NULL: all are taken. */
static const struct server_row *choose(struct ms_copies *c, const struct map *map)
{
	const struct server_row *any = NULL;

	for (uint32_t i = 0; i < map_server_count(map); i++) {
		const struct server_row *row = map_server_at(map, i);
		if (row->state != SERVER_UP || find_holder(c, row->server) ||
		    is_avoided(c, row->server))
			continue;
		if (!is_host_used(c, map, row->host))
			return row;
		if (!any)
			any = row;
	}
	return any;
}

static void drop_unusable(struct ms_copies *c, const struct map *map)
{
	for (uint32_t i = 0; i < c->wanted; i++) {
		struct holder *h = &c->holders[i];
		const struct server_row *row = map_server(map, h->server);

		if (h->server == 0 || h->is_leaving)
			continue;
		if (h->failing_since_ms > 0 && now_ms(c) - h->failing_since_ms > PATIENCE_MS) {
			log_warn("server %" PRIu32
				 " cannot keep a copy of the metadata: trying another",
				 h->server);
			avoid(c, h->server);
			holder_end(h);
		} else if (!is_usable(row) || strcmp(h->address, row->address) != 0) {
			holder_end(h);
		}
	}
}

static void fill_up(struct ms_copies *c, const struct map *map)
{
	for (uint32_t i = 0; i < c->wanted; i++) {
		struct holder *h = &c->holders[i];
		const struct server_row *row = h->server == 0 ? choose(c, map) : NULL;

		if (!row)
			continue;
		if (rpc_peer_create(c->server->rpc, row->address, &h->peer) < 0) {
			avoid(c, row->server);
			continue;
		}
		h->server = row->server;
		(void)text_copy(h->address, sizeof(h->address), row->address);
	}
}

void ms_copies_tick(struct ms_copies *c)
{
	const struct map *map = ms_state_map(c->server->state);

	if (c->server->is_stopping)
		return;
	drop_unusable(c, map);
	fill_up(c, map);
	for (uint32_t i = 0; i < c->wanted; i++)
		if (c->holders[i].server && !c->holders[i].is_leaving)
			holder_step(&c->holders[i]);
}

/* --- what is told ----------------------------------------------------------------------------- */

static bool is_fresh(const struct ms_copies *c, const struct holder *h)
{
	return h->server && !h->is_leaving && h->has_snapshot && h->fresh_ms > 0 &&
	       now_ms(c) - h->fresh_ms < MS_COPIES_AGE_MS;
}

uint32_t ms_copies_count(const struct ms_copies *c)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < c->wanted; i++)
		count += is_fresh(c, &c->holders[i]);
	return count;
}

uint64_t ms_copies_number(const struct ms_copies *c)
{
	uint64_t least = c->wanted > 0 ? 0 : UINT64_MAX;

	for (uint32_t i = 0; i < c->wanted; i++)
		if (is_fresh(c, &c->holders[i]))
			least = least ? MIN_OF(least, c->holders[i].held) : c->holders[i].held;
	return least;
}

bool ms_copies_is_idle(const struct ms_copies *c)
{
	for (uint32_t i = 0; i < MS_COPIES_MAX; i++)
		if (c->holders[i].is_working)
			return false;
	return true;
}

int ms_copies_create(struct ms_server *s, uint32_t wanted, struct ms_copies **out)
{
	struct ms_copies *c = calloc(1, sizeof(*c));

	if (!c)
		return -E_NOMEM;
	c->server = s;
	c->wanted = MIN_OF(wanted, MS_COPIES_MAX);
	for (uint32_t i = 0; i < MS_COPIES_MAX; i++)
		c->holders[i].copies = c;
	*out = c;
	return 0;
}

void ms_copies_destroy(struct ms_copies *c)
{
	if (!c)
		return;
	c->is_dead = true;
	for (uint32_t i = 0; i < MS_COPIES_MAX; i++)
		if (c->holders[i].server && !c->holders[i].is_leaving)
			holder_end(&c->holders[i]);
	copies_free(c);
}
