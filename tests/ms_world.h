/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A metadata server without a server, for tests: the state machine over rows in memory, a clock
 * that only the test moves, every effect kept, every record of the journal kept.
 *
 * world_do() sends one request and gives its reply, or NULL if it parked. Mutations get slot 0 of
 * their session and the next sequence by themselves, unless the test sets a sequence.
 */
#ifndef CAIRN_TESTS_MS_WORLD_H
#define CAIRN_TESTS_MS_WORLD_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/io/rows.h"
#include "fs/wire/msg.h"
#include "metadata-server/step.h"
#include "metadata-server/txn.h"

#define WORLD_EFFECTS_MAX  512u
#define WORLD_SESSIONS_MAX 16u
#define WORLD_ENTRIES_MAX  2048u
#define WORLD_LEASE_MS	   10000u
#define WORLD_TICK_MS_MAX  1000u

struct world_record {
	uint8_t *bytes;
	uint32_t len;
};

struct world {
	struct ms_config config;
	struct rows *rows;
	struct ms_txn *txn;
	struct ms_state *state;
	uint64_t now_ms, wall_ns, term, token;
	session_no sessions[WORLD_SESSIONS_MAX];
	uint64_t seqs[WORLD_SESSIONS_MAX];
	uint32_t session_count;
	/* effects of the last step; the bulk and the entries are those of its last reply */
	struct ms_effect effects[WORLD_EFFECTS_MAX];
	uint32_t effect_count;
	uint8_t bulk[ROW_VALUE_BYTES_MAX];
	char target[SYMLINK_BYTES_MAX + 1];
	struct ms_dir_entry entries[WORLD_ENTRIES_MAX];
	uint8_t names[KiB(256)];
	struct world_record *journal;
	uint32_t record_count;
};

static inline void world_keep_reply(struct world *w, struct ms_reply *r)
{
	size_t at = 0;

	if (r->bulk)
		memcpy(w->bulk, r->bulk, r->bulk_len);
	r->bulk = w->bulk;
	if (r->target.len)
		memcpy(w->target, r->target.bytes, r->target.len);
	w->target[r->target.len] = '\0';
	ck_assert_uint_le(r->entry_count, WORLD_ENTRIES_MAX);
	for (uint32_t i = 0; i < r->entry_count; i++) {
		w->entries[i] = r->entries[i];
		memcpy(w->names + at, r->entries[i].name.bytes, r->entries[i].name.len);
		w->entries[i].name.bytes = w->names + at;
		at += r->entries[i].name.len;
	}
	r->entries = w->entries;
}

static inline void world_effect(void *arg, const struct ms_effect *effect)
{
	struct world *w = arg;

	ck_assert_uint_lt(w->effect_count, WORLD_EFFECTS_MAX);
	w->effects[w->effect_count] = *effect;
	if (effect->kind == MS_FX_REPLY)
		world_keep_reply(w, &w->effects[w->effect_count].reply);
	w->effect_count++;
}

static inline void world_record(struct world *w)
{
	static uint8_t record[JOURNAL_RECORD_BYTES_MAX];
	uint32_t changes;
	int len;

	if (ms_txn_event_changes(w->txn) == 0)
		return;
	len = ms_txn_event_encode(w->txn, record, sizeof record, &changes);
	ck_assert_int_gt(len, 0);
	w->journal = realloc(w->journal, (w->record_count + 1) * sizeof *w->journal);
	w->journal[w->record_count].bytes = malloc((size_t)len);
	w->journal[w->record_count].len = (uint32_t)len;
	memcpy(w->journal[w->record_count].bytes, record + JOURNAL_HEADER_BYTES, (size_t)len);
	w->record_count++;
}

/* One event; sequence numbers of records are 1, 2, 3 ... */
static inline void world_step(struct world *w, struct ms_event *event)
{
	event->now_ms = w->now_ms;
	event->wall_ns = w->wall_ns += 1000;
	w->effect_count = 0;
	ms_step(w->state, event, world_effect, w);
	world_record(w);
}

/* The server itself sleeps: no tick comes before the end. */
static inline void world_sleep(struct world *w, uint64_t pass_ms)
{
	w->now_ms += pass_ms;
	world_step(w, &(struct ms_event){ .kind = MS_EV_TICK });
}

/* Ticks come at least each second; the effects are those of the last. */
static inline void world_tick(struct world *w, uint64_t pass_ms)
{
	for (; pass_ms > WORLD_TICK_MS_MAX; pass_ms -= WORLD_TICK_MS_MAX)
		world_sleep(w, WORLD_TICK_MS_MAX);
	world_sleep(w, pass_ms);
}

static inline const struct ms_effect *world_find(struct world *w, enum ms_effect_kind kind)
{
	for (uint32_t i = 0; i < w->effect_count; i++)
		if (w->effects[i].kind == kind)
			return &w->effects[i];
	return NULL;
}

static inline const struct ms_reply *world_reply(struct world *w, uint64_t token)
{
	for (uint32_t i = 0; i < w->effect_count; i++)
		if (w->effects[i].kind == MS_FX_REPLY && w->effects[i].token == token)
			return &w->effects[i].reply;
	return NULL;
}

static inline uint32_t world_index(struct world *w, session_no session)
{
	for (uint32_t i = 0; i < w->session_count; i++)
		if (w->sessions[i] == session)
			return i;
	return WORLD_SESSIONS_MAX;
}

static inline bool world_changes(uint16_t op)
{
	return op == MSG_SETATTR || op == MSG_MAKE || op == MSG_LINK || op == MSG_UNLINK ||
	       op == MSG_RENAME || op == MSG_PUBLISH || op == MSG_SETXATTR ||
	       op == MSG_REMOVEXATTR || op == MSG_CLONE || op == MSG_TRASH;
}

/* Send; the reply, or NULL if it parked. w->token is then its token. */
static inline const struct ms_reply *world_do(struct world *w, struct ms_request req)
{
	struct ms_event event = { .kind = MS_EV_REQUEST, .token = ++w->token };
	uint32_t index = world_index(w, req.session);

	if (world_changes(req.op) && !req.slot_seq && index < w->session_count)
		req.slot_seq = ++w->seqs[index];
	event.req = req;
	world_step(w, &event);
	return world_reply(w, event.token);
}

static inline int world_rc(struct world *w, struct ms_request req)
{
	const struct ms_reply *reply = world_do(w, req);

	ck_assert_msg(reply != NULL, "the request parked");
	return reply->rc;
}

static inline struct ms_name world_name(const char *s)
{
	return (struct ms_name){ (const uint8_t *)s, (uint32_t)strlen(s) };
}

static inline session_no world_session(struct world *w)
{
	struct ms_request req = { .op = MSG_SESSION_OPEN, .node = "node" };
	uint32_t i = w->session_count++;

	ck_assert_uint_lt(i, WORLD_SESSIONS_MAX);
	w->sessions[i] = req.new_session = 0x1000 + i;
	w->seqs[i] = 0;
	req.uuid[0] = (uint8_t)(i + 1);
	ck_assert_int_eq(world_rc(w, req), 0);
	return w->sessions[i];
}

static inline void world_begin_term(struct world *w)
{
	struct ms_event event = { .kind = MS_EV_TERM };

	event.req.term = ++w->term;
	event.req.number = w->record_count;
	world_step(w, &event);
}

static inline void world_init_with(struct world *w, const struct ms_config *config)
{
	memset(w, 0, sizeof *w);
	w->config = *config;
	w->now_ms = 1000;
	w->wall_ns = UINT64_C(1700000000000000000);
	ck_assert_int_eq(rows_mem_create(&w->rows), 0);
	ck_assert_int_eq(ms_txn_create(w->rows, &w->txn), 0);
	ck_assert_int_eq(ms_state_format(&w->config, w->txn, w->wall_ns, 0, 0), 0);
	ck_assert_int_eq(ms_txn_flush(w->txn), 0);
	ck_assert_int_eq(rows_commit(w->rows), 0);
	ck_assert_int_eq(ms_state_create(&w->config, w->txn, &w->state), 0);
	world_begin_term(w);
}

static inline struct ms_config world_config(void)
{
	return (struct ms_config){
		.lease_ms = WORLD_LEASE_MS, .suspect_ms = 3000, .down_ms = 6000, .out_ms = 20000,
		.copies = 3, .min_copies = 2, .name_key = 42, .inline_bytes_max = INLINE_BYTES_MAX,
		.leases_max_per_session = 10000, .parked_max = 64, .sessions_max = 8 };
}

static inline void world_init(struct world *w)
{
	struct ms_config config = world_config();

	world_init_with(w, &config);
}

static inline void world_flush(struct world *w)
{
	ck_assert_int_eq(ms_txn_flush(w->txn), 0);
	ck_assert_int_eq(rows_commit(w->rows), 0);
}

/* The process ends and another begins on the same rows. */
static inline void world_restart(struct world *w)
{
	world_flush(w);
	ms_state_destroy(w->state);
	ms_txn_destroy(w->txn);
	ck_assert_int_eq(ms_txn_create(w->rows, &w->txn), 0);
	ck_assert_int_eq(ms_state_create(&w->config, w->txn, &w->state), 0);
	world_begin_term(w);
}

static inline void world_assert_rows_equal(struct rows *a, struct rows *b)
{
	struct rows_snapshot *sa, *sb;
	int ra, rb;

	ck_assert_int_eq(rows_snapshot_open(a, &sa), 0);
	ck_assert_int_eq(rows_snapshot_open(b, &sb), 0);
	do {
		struct row x, y;

		ra = rows_snapshot_next(sa, &x);
		rb = rows_snapshot_next(sb, &y);
		ck_assert_int_ge(ra, 0);
		ck_assert_int_eq(ra, rb);
		if (ra == 1) {
			ck_assert_uint_eq(x.key_len, y.key_len);
			ck_assert_mem_eq(x.key, y.key, x.key_len);
			ck_assert_uint_eq(x.value_len, y.value_len);
			ck_assert(x.value_len == 0 || memcmp(x.value, y.value, x.value_len) == 0);
		}
	} while (ra == 1);
	rows_snapshot_close(sa);
	rows_snapshot_close(sb);
}

/* I3: the journal, applied to the rows of an empty file system, gives the same rows. */
static inline void world_check_replay(struct world *w)
{
	struct rows *rows;
	struct ms_txn *txn;

	world_flush(w);
	ck_assert_int_eq(rows_mem_create(&rows), 0);
	ck_assert_int_eq(ms_txn_create(rows, &txn), 0);
	ck_assert_int_eq(ms_state_format(&w->config, txn, UINT64_C(1700000000000000000), 0, 0), 0);
	for (uint32_t i = 0; i < w->record_count; i++)
		ck_assert_int_eq(ms_txn_apply(txn, w->journal[i].bytes, w->journal[i].len), 0);
	ck_assert_int_eq(ms_txn_flush(txn), 0);
	ck_assert_int_eq(rows_commit(rows), 0);
	world_assert_rows_equal(w->rows, rows);
	ms_txn_destroy(txn);
	rows_destroy(rows);
}

static inline void world_finish(struct world *w)
{
	world_check_replay(w);
	ms_state_destroy(w->state);
	ms_txn_destroy(w->txn);
	rows_destroy(w->rows);
	for (uint32_t i = 0; i < w->record_count; i++)
		free(w->journal[i].bytes);
	free(w->journal);
}

/* --- the usual requests ----------------------------------------------------------------------- */

static inline struct ms_request world_make(session_no s, inode_no dir, const char *name,
					   uint32_t mode)
{
	return (struct ms_request){ .op = MSG_MAKE, .session = s, .parent = dir,
				    .name = world_name(name), .mode = mode, .exclusive = true };
}

/* Make it, and give its inode number. */
static inline inode_no world_made(struct world *w, session_no s, inode_no dir, const char *name,
				  uint32_t mode)
{
	const struct ms_reply *reply = world_do(w, world_make(s, dir, name, mode));

	ck_assert_msg(reply && reply->rc == 0, "cannot make '%s': %s", name,
		      reply ? error_name(reply->rc) : "parked");
	return reply->attr.ino;
}

static inline struct ms_request world_lookup(session_no s, inode_no dir, const char *name)
{
	return (struct ms_request){ .op = MSG_LOOKUP, .session = s, .parent = dir,
				    .name = world_name(name) };
}

static inline struct ms_request world_getattr(session_no s, inode_no ino)
{
	return (struct ms_request){ .op = MSG_GETATTR, .session = s, .ino = ino, .lease = true };
}

static inline struct ms_request world_unlink(session_no s, inode_no dir, const char *name,
					     bool directory)
{
	return (struct ms_request){ .op = MSG_UNLINK, .session = s, .parent = dir,
				    .name = world_name(name), .directory = directory };
}

static inline struct ms_request world_rename(session_no s, inode_no dir, const char *name,
					     inode_no to_dir, const char *to)
{
	return (struct ms_request){ .op = MSG_RENAME, .session = s, .parent = dir,
				    .name = world_name(name), .new_parent = to_dir,
				    .new_name = world_name(to) };
}

static inline struct ms_request world_open(session_no s, inode_no ino, bool write)
{
	return (struct ms_request){ .op = MSG_OPEN, .session = s, .ino = ino, .write = write };
}

/* Valid until the next one is made. */
static inline struct ms_request world_release(session_no s, inode_no ino)
{
	static inode_no released;

	released = ino;
	return (struct ms_request){ .op = MSG_RELEASE, .session = s, .opens = &released,
				    .open_count = 1 };
}

/* Publish `text` inline, built on `base`. */
static inline struct ms_request world_publish(session_no s, inode_no ino, uint64_t base,
					      const char *text)
{
	uint32_t len = (uint32_t)strlen(text);

	return (struct ms_request){
		.op = MSG_PUBLISH, .session = s, .ino = ino, .base_version = base,
		.root = { .kind = len ? ROOT_INLINE : ROOT_EMPTY, .length = len },
		.bulk = (const uint8_t *)text, .bulk_len = len };
}

/* Answer a recall: keep `mode` of its lease. The effects of the answer are the world's then. */
static inline void world_answer(struct world *w, struct ms_effect recall, enum ms_lease_mode keep)
{
	struct ms_event event = { .kind = MS_EV_RECALL_ANSWER, .token = recall.token };

	recall.leases[0].mode = keep;
	event.req.session = recall.session;
	event.req.leases = recall.leases;
	event.req.lease_count = 1;
	world_step(w, &event);
}

/* Answer every recall of the last step with nothing kept, and of the steps that follow. */
static inline void world_answer_all(struct world *w)
{
	struct ms_effect recalls[64];
	uint32_t count = 0;

	for (uint32_t i = 0; i < w->effect_count && count < 64; i++)
		if (w->effects[i].kind == MS_FX_RECALL)
			recalls[count++] = w->effects[i];
	for (uint32_t i = 0; i < count; i++)
		world_answer(w, recalls[i], MS_LEASE_NONE);
}

/* As world_do(), with every lease in the way given back. */
static inline const struct ms_reply *world_settled(struct world *w, struct ms_request req)
{
	const struct ms_reply *reply = world_do(w, req);
	uint64_t token = w->token;

	if (reply)
		return reply;
	world_answer_all(w);
	reply = world_reply(w, token);
	ck_assert_msg(reply != NULL, "the request stays parked");
	return reply;
}

/* A lease of that kind in the reply, or NONE. */
static inline enum ms_lease_mode world_lease(const struct ms_reply *reply, inode_no ino,
					     bool is_name)
{
	for (uint32_t i = 0; i < reply->lease_count; i++)
		if (reply->leases[i].ino == ino && (reply->leases[i].name_hash != 0) == is_name)
			return reply->leases[i].mode;
	return MS_LEASE_NONE;
}

#endif
