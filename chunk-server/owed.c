/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is owed. Changes gather in memory, bounded (I11), and are written and synced together: when
 * somebody waits, else after OWED_MS. A write or sync that failed ends the log (I4); the next one
 * is another file. Keys of rows: server, big-endian, then the id: so the PGs of one server follow
 * each other.
 */
#include "chunk-server/owed.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "fs/base/bytes.h"
#include "fs/base/log.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "owed"

#define OWED_FILE     "owed"
#define OWED_FILE_NEW "owed.new"
#define OWED_MS	      100u
#define RESTART_MS    1000u
#define ENTRY_BYTES   48u
#define ENTRY_CHECKED 40u
#define KEY_BYTES     (4u + BLOCK_ID_BYTES)
#define PENDING_MAX   16384u /* entries that wait to be written */
#define READ_ENTRIES  4096u
#define REWRITE_BYTES MiB(1) /* a longer log that is mostly history is rewritten */

enum owed_op { OWED_ADDED = 1, OWED_REPAID = 2 };

struct cs_owed {
	struct loop *loop;
	struct disk *disk;
	struct disk_file *file;
	struct rows *rows;
	uint64_t count;
	uint32_t pg_counts[PG_COUNT];
	uint64_t log_bytes;
	bool is_failed;
	uint32_t failures;
	bool was_whole;

	uint8_t *pending; /* PENDING_MAX entries */
	uint32_t pending_count;
	uint8_t *writing; /* as much, in flight */
	uint32_t writing_count;
	struct rows_snapshot *snapshot; /* of the flush in flight: the log is rewritten from it */
	struct loop_work work;
	int work_rc;
	bool is_busy;
	struct disk_file *fresh; /* of a restart */
	struct loop_timer restart_timer;
	uint32_t tasks;
	uint64_t added, durable; /* positions: entries since the start */
	struct cs_owed_sync *waiters;
	struct loop_timer timer;
};

static void key_of(uint8_t key[KEY_BYTES], server_no server, const struct block_id *id)
{
	struct wr w = wr_init(key, KEY_BYTES);

	wr_be32(&w, server);
	wr_bytes(&w, id->bytes, BLOCK_ID_BYTES);
	ASSERT(wr_ok(&w));
}

static void entry_encode(uint8_t out[ENTRY_BYTES], enum owed_op op, server_no server,
			 const struct block_id *id)
{
	struct wr w = wr_init(out, ENTRY_BYTES);

	wr_u8(&w, (uint8_t)op);
	wr_zeros(&w, 3);
	wr_u32(&w, server);
	wr_bytes(&w, id->bytes, BLOCK_ID_BYTES);
	wr_u64(&w, checksum_of(out, ENTRY_CHECKED));
	ASSERT(wr_ok(&w));
}

static int entry_decode(const uint8_t in[ENTRY_BYTES], enum owed_op *op, server_no *server,
			struct block_id *id)
{
	struct rd r = rd_init(in, ENTRY_BYTES);

	*op = rd_u8(&r);
	rd_zeros(&r, 3);
	*server = rd_u32(&r);
	rd_bytes(&r, id->bytes, BLOCK_ID_BYTES);
	uint64_t checksum = rd_u64(&r);
	if (!rd_done(&r) || checksum != checksum_of(in, ENTRY_CHECKED))
		return -E_CORRUPT;
	if ((*op != OWED_ADDED && *op != OWED_REPAID) || *server == 0)
		return -E_MALFORMED;
	return 0;
}

/* Change the view. 1: it changed; 0: nothing to change; or an error. */
static int rows_apply(struct cs_owed *owed, enum owed_op op, server_no server,
		      const struct block_id *id)
{
	uint8_t key[KEY_BYTES];
	const void *value;
	uint32_t len;

	key_of(key, server, id);
	int rc = rows_get(owed->rows, key, sizeof(key), &value, &len);
	if (rc < 0 && rc != -E_NOENT)
		return rc;
	bool was_there = rc == 0;
	if (was_there == (op == OWED_ADDED))
		return 0;
	rc = was_there ? rows_del(owed->rows, key, sizeof(key))
		       : rows_put(owed->rows, key, sizeof(key), "", 1);
	return rc < 0 ? rc : 1;
}

static void tally(struct cs_owed *owed, enum owed_op op, const struct block_id *id)
{
	owed->count += op == OWED_ADDED ? 1 : -1;
	owed->pg_counts[block_id_pg(id)] += op == OWED_ADDED ? 1 : -1;
}

/* --- opening ---- */

static int replay_chunk(struct cs_owed *owed, const uint8_t *bytes, uint32_t count, uint64_t *bad)
{
	for (uint32_t i = 0; i < count; i++) {
		enum owed_op op;
		server_no server;
		struct block_id id;
		if (entry_decode(bytes + i * ENTRY_BYTES, &op, &server, &id) < 0) {
			(*bad)++;
			continue;
		}
		int rc = rows_apply(owed, op, server, &id);
		if (rc < 0)
			return rc;
		if (rc == 1)
			tally(owed, op, &id);
	}
	return rows_commit(owed->rows);
}

static int replay(struct cs_owed *owed, uint8_t *buffer)
{
	uint64_t bad = 0;
	int rc = rows_clear(owed->rows);

	if (rc == 0)
		rc = rows_commit(owed->rows);
	while (rc == 0) {
		int bytes =
			disk_read(owed->file, buffer, READ_ENTRIES * ENTRY_BYTES, owed->log_bytes);
		if (bytes < (int)ENTRY_BYTES) {
			rc = bytes < 0 ? bytes : 0;
			break;
		}
		uint32_t count = (uint32_t)bytes / ENTRY_BYTES;
		rc = replay_chunk(owed, buffer, count, &bad);
		owed->log_bytes += count * ENTRY_BYTES;
	}
	owed->was_whole = bad == 0;
	if (bad > 0)
		log_warn("stepped over %llu damaged entries of the owed log",
			 (unsigned long long)bad);
	return rc;
}

/* Write the entries that still count into a new file. */
static int rewrite_rows(struct rows_snapshot *rows, struct disk_file *file, uint8_t *buffer,
			uint64_t *bytes_out)
{
	uint32_t count = 0;
	struct row row;
	int rc = 1;

	*bytes_out = 0;
	while (rc == 1) {
		rc = rows_snapshot_next(rows, &row);
		if (rc == 1) {
			struct rd r = rd_init(row.key, row.key_len);
			struct block_id id;
			server_no server = rd_be32(&r);
			rd_bytes(&r, id.bytes, BLOCK_ID_BYTES);
			if (!rd_done(&r))
				return -E_MALFORMED;
			entry_encode(buffer + count++ * ENTRY_BYTES, OWED_ADDED, server, &id);
		}
		if (rc >= 0 && count > 0 && (rc == 0 || count == READ_ENTRIES)) {
			int written = disk_write(file, buffer, count * ENTRY_BYTES, *bytes_out);
			if (written < 0)
				return written;
			*bytes_out += count * ENTRY_BYTES;
			count = 0;
		}
	}
	return rc;
}

static int rewrite_to(struct cs_owed *owed, struct rows_snapshot *rows, struct disk_file *file,
		      uint64_t *bytes)
{
	uint8_t *buffer = malloc(READ_ENTRIES * ENTRY_BYTES);
	int rc = buffer != NULL ? disk_truncate(file, 0) : -E_NOMEM;

	if (rc == 0)
		rc = rewrite_rows(rows, file, buffer, bytes);
	free(buffer);
	if (rc == 0)
		rc = disk_sync(file);
	if (rc == 0)
		rc = disk_rename(owed->disk, OWED_FILE_NEW, OWED_FILE);
	/* Renamed or not: no log is believed any more. */
	if (rc == 0 && disk_sync_dir(owed->disk, "") < 0)
		rc = -E_IO;
	return rc;
}

/* A log that is mostly history is replaced by one that is not. */
static int rewrite(struct cs_owed *owed, struct rows_snapshot *rows)
{
	struct disk_file *file;
	uint64_t bytes = 0;
	int rc = disk_open(owed->disk, OWED_FILE_NEW, DISK_WRITE | DISK_CREATE, &file);

	if (rc < 0)
		return rc;
	rc = rewrite_to(owed, rows, file, &bytes);
	if (rc < 0) {
		disk_close(file);
		(void)!disk_unlink(owed->disk, OWED_FILE_NEW);
		return rc;
	}
	disk_close(owed->file);
	owed->file = file;
	owed->log_bytes = bytes;
	return 0;
}

static bool is_history(const struct cs_owed *owed)
{
	return owed->log_bytes / ENTRY_BYTES > 2 * owed->count + READ_ENTRIES;
}

static int rewrite_at_start(struct cs_owed *owed)
{
	struct rows_snapshot *rows;
	int rc = rows_snapshot_open(owed->rows, &rows);

	if (rc < 0)
		return rc;
	rc = rewrite(owed, rows);
	rows_snapshot_close(rows);
	/* On a full disk the long log has to do. */
	return rc == -E_NOSPC ? 0 : rc;
}

static int open_log(struct cs_owed *owed)
{
	int rc = disk_open(owed->disk, OWED_FILE, DISK_WRITE | DISK_CREATE, &owed->file);

	if (rc == 0)
		rc = disk_sync_dir(owed->disk, "");
	if (rc == 0)
		rc = replay(owed, owed->pending);
	if (rc == 0 && is_history(owed))
		rc = rewrite_at_start(owed);
	return rc;
}

static void timer_fired(struct loop_timer *timer);
static void restart_fired(struct loop_timer *timer);

int cs_owed_open(struct loop *loop, struct disk *disk, struct rows *rows, struct cs_owed **out,
		 struct error *err)
{
	struct cs_owed *owed = calloc(1, sizeof(*owed));
	int rc = -E_NOMEM;

	_Static_assert(READ_ENTRIES <= PENDING_MAX, "the pending buffer serves for reading");
	if (owed == NULL)
		return error_set(err, rc, "cannot open the owed log");
	owed->loop = loop;
	owed->disk = disk;
	owed->rows = rows;
	owed->timer.fn = timer_fired;
	owed->restart_timer.fn = restart_fired;
	owed->pending = malloc(PENDING_MAX * ENTRY_BYTES);
	owed->writing = malloc(PENDING_MAX * ENTRY_BYTES);
	if (owed->pending != NULL && owed->writing != NULL)
		rc = open_log(owed);
	if (rc < 0) {
		cs_owed_drop(owed);
		return error_set(err, rc, "cannot open the owed log");
	}
	*out = owed;
	return 0;
}

/* --- writing ---- */

static void sync_task(struct loop_task *task)
{
	struct cs_owed_sync *sync = container_of(task, struct cs_owed_sync, task);

	sync->owed->tasks--;
	sync->done(sync);
}

static void sync_answer_later(struct cs_owed_sync *sync, int rc)
{
	sync->rc = rc;
	sync->task.run = sync_task;
	sync->owed->tasks++;
	loop_post(sync->owed->loop, &sync->task);
}

static void settle(struct cs_owed *owed)
{
	struct cs_owed_sync *sync, *next;

	DL_FOREACH_SAFE (owed->waiters, sync, next) {
		if (!owed->is_failed && sync->position > owed->durable)
			continue;
		DL_DELETE(owed->waiters, sync);
		sync_answer_later(sync, sync->position <= owed->durable ? 0 : -E_IO);
	}
}

static int flush(struct cs_owed *owed)
{
	int rc = 0;

	if (owed->writing_count > 0)
		rc = disk_write(owed->file, owed->writing, owed->writing_count * ENTRY_BYTES,
				owed->log_bytes);
	if (rc == 0)
		rc = disk_sync(owed->file);
	if (rc == 0)
		owed->log_bytes += owed->writing_count * ENTRY_BYTES;
	return rc;
}

static void flush_run(struct loop_work *work)
{
	struct cs_owed *owed = container_of(work, struct cs_owed, work);

	/* The rows know the entries of this flush already. */
	owed->work_rc = owed->snapshot != NULL ? rewrite(owed, owed->snapshot) : -E_NOSPC;
	if (owed->work_rc == -E_NOSPC)
		owed->work_rc = flush(owed);
}

static void snapshot_end(struct cs_owed *owed)
{
	if (owed->snapshot != NULL)
		rows_snapshot_close(owed->snapshot);
	owed->snapshot = NULL;
}

static void flush_start(struct cs_owed *owed);

static void flush_done(struct loop_work *work)
{
	struct cs_owed *owed = container_of(work, struct cs_owed, work);

	owed->is_busy = false;
	if (owed->work_rc < 0) {
		log_error("the owed log is given up: %s", error_text(owed->work_rc));
		owed->is_failed = true;
		owed->failures++;
	} else {
		owed->durable += owed->writing_count;
	}
	snapshot_end(owed);
	settle(owed);
	if (owed->pending_count > 0)
		flush_start(owed);
}

static void flush_start(struct cs_owed *owed)
{
	if (owed->is_busy || owed->is_failed)
		return;
	loop_timer_stop(owed->loop, &owed->timer);
	uint8_t *bytes = owed->writing;
	owed->writing = owed->pending;
	owed->writing_count = owed->pending_count;
	owed->pending = bytes;
	owed->pending_count = 0;
	/* Without a snapshot the log grows a little longer. */
	if (owed->log_bytes > REWRITE_BYTES && is_history(owed) &&
	    rows_snapshot_open(owed->rows, &owed->snapshot) < 0)
		owed->snapshot = NULL;
	owed->is_busy = true;
	owed->work.run = flush_run;
	owed->work.done = flush_done;
	loop_work(owed->loop, &owed->work);
}

static void timer_fired(struct loop_timer *timer)
{
	flush_start(container_of(timer, struct cs_owed, timer));
}

/* Rows on a disk that failed, which neither take nor lose an entry, view the log no more. */
static int rows_failed(struct cs_owed *owed, int rc)
{
	rows_abort(owed->rows);
	if (rc != -E_NOSPC && rc != -E_NOMEM) {
		log_error("the index of the owed log is given up: %s", error_text(rc));
		owed->is_failed = true;
		owed->failures++;
		settle(owed);
	}
	return rc;
}

static int change(struct cs_owed *owed, enum owed_op op, const struct block_id *id,
		  server_no server)
{
	if (owed->is_failed)
		return -E_IO;
	if (owed->pending_count >= PENDING_MAX)
		return -E_OVERLOADED;
	int rc = rows_apply(owed, op, server, id);
	bool is_news = rc == 1;
	if (is_news)
		rc = rows_commit(owed->rows);
	if (rc < 0)
		return rows_failed(owed, rc);
	if (is_news) {
		tally(owed, op, id);
		entry_encode(owed->pending + owed->pending_count++ * ENTRY_BYTES, op, server, id);
		owed->added++;
		if (!owed->is_busy && owed->pending_count == 1)
			loop_timer_start(owed->loop, &owed->timer, OWED_MS);
	}
	return 0;
}

int cs_owed_add(struct cs_owed *owed, const struct block_id *id, server_no server)
{
	return change(owed, OWED_ADDED, id, server);
}

int cs_owed_remove(struct cs_owed *owed, const struct block_id *id, server_no server)
{
	return change(owed, OWED_REPAID, id, server);
}

void cs_owed_sync(struct cs_owed *owed, struct cs_owed_sync *sync)
{
	sync->owed = owed;
	sync->position = owed->added;
	if (sync->position <= owed->durable || owed->is_failed) {
		sync_answer_later(sync, sync->position <= owed->durable ? 0 : -E_IO);
		return;
	}
	DL_APPEND(owed->waiters, sync);
	flush_start(owed);
}

/* --- again ---- */

/* An empty log, whole before it has the name. */
static int begin_log(struct cs_owed *owed)
{
	int rc = disk_open(owed->disk, OWED_FILE_NEW, DISK_WRITE | DISK_CREATE, &owed->fresh);

	if (rc < 0)
		return rc;
	rc = disk_truncate(owed->fresh, 0);
	if (rc == 0)
		rc = disk_sync(owed->fresh);
	if (rc == 0)
		rc = disk_rename(owed->disk, OWED_FILE_NEW, OWED_FILE);
	if (rc == 0)
		rc = disk_sync_dir(owed->disk, "");
	if (rc < 0) {
		disk_close(owed->fresh);
		owed->fresh = NULL;
	}
	return rc;
}

static void restart_run(struct loop_work *work)
{
	struct cs_owed *owed = container_of(work, struct cs_owed, work);

	owed->work_rc = begin_log(owed);
}

static void restart_done(struct loop_work *work)
{
	struct cs_owed *owed = container_of(work, struct cs_owed, work);

	owed->is_busy = false;
	if (owed->work_rc < 0) {
		loop_timer_start(owed->loop, &owed->restart_timer, RESTART_MS);
		return;
	}
	log_info("began a new owed log");
	disk_close(owed->file);
	owed->file = owed->fresh;
	owed->fresh = NULL;
	owed->log_bytes = 0;
	owed->pending_count = 0;
	owed->durable = owed->added;
	owed->is_failed = false;
}

static void restart_fired(struct loop_timer *timer)
{
	cs_owed_restart(container_of(timer, struct cs_owed, restart_timer));
}

uint32_t cs_owed_failures(const struct cs_owed *owed)
{
	return owed->failures;
}

void cs_owed_restart(struct cs_owed *owed)
{
	if (!owed->is_failed)
		return;
	owed->count = 0;
	memset(owed->pg_counts, 0, sizeof(owed->pg_counts));
	if (owed->is_busy || rows_clear(owed->rows) < 0 || rows_commit(owed->rows) < 0) {
		rows_abort(owed->rows);
		loop_timer_start(owed->loop, &owed->restart_timer, RESTART_MS);
		return;
	}
	owed->is_busy = true;
	owed->work.run = restart_run;
	owed->work.done = restart_done;
	loop_work(owed->loop, &owed->work);
}

/* --- asking ---- */

static int next_row(struct cs_owed *owed, server_no *server, struct block_id *id)
{
	uint8_t key[KEY_BYTES];
	struct row row;

	if (owed->is_failed)
		return -E_NOENT; /* what was owed is compared instead */
	key_of(key, *server, id);
	int rc = rows_next(owed->rows, key, sizeof(key), &row);
	if (rc < 0)
		return rc;
	struct rd r = rd_init(row.key, row.key_len);
	*server = rd_be32(&r);
	rd_bytes(&r, id->bytes, BLOCK_ID_BYTES);
	return rd_done(&r) ? 0 : -E_MALFORMED;
}

int cs_owed_next(struct cs_owed *owed, server_no server, struct block_id *id)
{
	server_no found = server;
	int rc = next_row(owed, &found, id);

	return rc == 0 && found != server ? -E_NOENT : rc;
}

int cs_owed_next_server(struct cs_owed *owed, server_no *server)
{
	struct block_id id = {{0}};

	return next_row(owed, server, &id);
}

uint64_t cs_owed_count(const struct cs_owed *owed)
{
	return owed->count;
}

bool cs_owed_has_pg(const struct cs_owed *owed, pg_no pg)
{
	return owed->pg_counts[pg] > 0;
}

bool cs_owed_was_whole(const struct cs_owed *owed)
{
	return owed->was_whole;
}

/* --- the end ---- */

bool cs_owed_is_idle(const struct cs_owed *owed)
{
	return !owed->is_busy && owed->tasks == 0;
}

void cs_owed_drop(struct cs_owed *owed)
{
	if (owed == NULL)
		return;
	loop_timer_stop(owed->loop, &owed->timer);
	loop_timer_stop(owed->loop, &owed->restart_timer);
	snapshot_end(owed);
	disk_close(owed->file);
	disk_close(owed->fresh);
	free(owed->pending);
	free(owed->writing);
	free(owed);
}

int cs_owed_close(struct cs_owed *owed)
{
	int rc = 0;

	if (owed == NULL)
		return 0;
	ASSERT(cs_owed_is_idle(owed));
	if (owed->is_failed) {
		rc = -E_IO;
	} else if (owed->pending_count > 0) {
		owed->writing_count = owed->pending_count;
		memcpy(owed->writing, owed->pending, owed->pending_count * ENTRY_BYTES);
		rc = flush(owed);
	}
	cs_owed_drop(owed);
	return rc;
}
