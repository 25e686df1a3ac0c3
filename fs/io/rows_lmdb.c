/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows in LMDB, one unnamed database per directory. The only file that sees LMDB, its errors
 * included.
 *
 * MDB_NOSYNC, because the rows are a view: view.h says after a crash whether they may be kept
 * (I15). MDB_NOTLS, because a snapshot's reader moves between threads.
 *
 * The write transaction begins with the first change and ends with commit or abort. Reads go
 * through it while it is open, so that they see it; otherwise through a read transaction that is
 * renewed at the first read after a commit. So no reader of ours holds old pages while the store is
 * written.
 */
#include "fs/io/rows.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>

#define FILE_MODE 0640

struct rows_lmdb {
	struct rows base;	/* first */
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *write;		/* open since the first change, or NULL */
	/* of `write`; remembers its page, so puts in key order are fast */
	MDB_cursor *write_cursor;
	MDB_txn *read;		/* begun once, then reset and renewed */
	MDB_cursor *read_cursor;
	bool is_reading;	/* `read` is not reset */
};

struct rows_lmdb_snapshot {
	struct rows_snapshot base;	/* first */
	MDB_txn *txn;
	MDB_cursor *cursor;
};

static struct rows_lmdb *lmdb_of(struct rows *rows)
{
	return container_of(rows, struct rows_lmdb, base);
}

static int result_of(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return 0;
	case MDB_NOTFOUND:
		return -E_NOENT;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return -E_NOSPC;
	case MDB_READERS_FULL:
		return -E_BUSY;
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
		return -E_CORRUPT;
	default:
		/*
		 * Above 0: errno. Below: a transaction that an earlier error has ended, or a panic.
		 */
		return rc > 0 ? error_from_errno(rc) : -E_IO;
	}
}

/* LMDB does not write to what it is given, but its MDB_val is not const. */
static MDB_val val_of(const void *bytes, uint32_t len)
{
	return (MDB_val){ .mv_size = len, .mv_data = (void *)(uintptr_t)bytes };
}

/* --- transactions ----------------------------------------------------------------------------- */

static void read_end(struct rows_lmdb *r)
{
	if (r->is_reading)
		mdb_txn_reset(r->read);
	r->is_reading = false;
}

static int read_begin(struct rows_lmdb *r)
{
	int rc;

	if (r->is_reading)
		return 0;
	rc = mdb_txn_renew(r->read);
	if (rc != 0)
		return result_of(rc);
	r->is_reading = true;
	rc = mdb_cursor_renew(r->read, r->read_cursor);
	if (rc != 0)
		read_end(r);
	return result_of(rc);
}

static int write_begin(struct rows_lmdb *r)
{
	int rc;

	if (r->write != NULL)
		return 0;
	read_end(r);
	rc = mdb_txn_begin(r->env, NULL, 0, &r->write);
	if (rc != 0) {
		r->write = NULL;
		return result_of(rc);
	}
	rc = mdb_cursor_open(r->write, r->dbi, &r->write_cursor);
	if (rc != 0) {
		mdb_txn_abort(r->write);
		r->write = NULL;
	}
	return result_of(rc);
}

/* The cursor to read with: of the write transaction if there is one. */
static int reading_cursor(struct rows_lmdb *r, MDB_cursor **out)
{
	int rc = r->write != NULL ? 0 : read_begin(r);

	*out = r->write != NULL ? r->write_cursor : r->read_cursor;
	return rc;
}

/* --- operations ------------------------------------------------------------------------------- */

static int lmdb_get(struct rows *rows, const void *key, uint32_t key_len, const void **value,
		    uint32_t *value_len)
{
	struct rows_lmdb *r = lmdb_of(rows);
	MDB_val k = val_of(key, key_len), v;
	MDB_cursor *cursor;
	int rc = reading_cursor(r, &cursor);

	if (rc < 0)
		return rc;
	rc = mdb_cursor_get(cursor, &k, &v, MDB_SET);
	if (rc != 0)
		return result_of(rc);
	*value = v.mv_data;
	*value_len = (uint32_t)v.mv_size;
	return 0;
}

static int lmdb_put(struct rows *rows, const void *key, uint32_t key_len, const void *value,
		    uint32_t value_len)
{
	struct rows_lmdb *r = lmdb_of(rows);
	MDB_val k = val_of(key, key_len), v = val_of(value, value_len);
	int rc = write_begin(r);

	return rc < 0 ? rc : result_of(mdb_cursor_put(r->write_cursor, &k, &v, 0));
}

static int lmdb_del(struct rows *rows, const void *key, uint32_t key_len)
{
	struct rows_lmdb *r = lmdb_of(rows);
	MDB_val k = val_of(key, key_len);
	int rc = write_begin(r);

	return rc < 0 ? rc : result_of(mdb_del(r->write, r->dbi, &k, NULL));
}

static void row_set(struct row *out, const MDB_val *k, const MDB_val *v)
{
	*out = (struct row){
		.key = k->mv_data, .key_len = (uint32_t)k->mv_size,
		.value = v->mv_data, .value_len = (uint32_t)v->mv_size,
	};
}

static int lmdb_next(struct rows *rows, const void *key, uint32_t key_len, struct row *out)
{
	struct rows_lmdb *r = lmdb_of(rows);
	MDB_val k = val_of(key, key_len), v;
	MDB_cursor *cursor;
	int rc = reading_cursor(r, &cursor);

	if (rc < 0)
		return rc;
	rc = mdb_cursor_get(cursor, &k, &v, key_len == 0 ? MDB_FIRST : MDB_SET_RANGE);
	if (rc == 0)
		row_set(out, &k, &v);
	return result_of(rc);
}

static int lmdb_commit(struct rows *rows)
{
	struct rows_lmdb *r = lmdb_of(rows);
	MDB_txn *txn = r->write;

	if (txn == NULL)
		return 0;
	r->write = NULL;	/* its cursor ends with it, and it ends whatever the result */
	return result_of(mdb_txn_commit(txn));
}

static void lmdb_abort(struct rows *rows)
{
	struct rows_lmdb *r = lmdb_of(rows);

	if (r->write != NULL)
		mdb_txn_abort(r->write);
	r->write = NULL;
}

static int lmdb_clear(struct rows *rows)
{
	struct rows_lmdb *r = lmdb_of(rows);
	int rc = write_begin(r);

	return rc < 0 ? rc : result_of(mdb_drop(r->write, r->dbi, 0));
}

static uint64_t lmdb_bytes(struct rows *rows)
{
	struct rows_lmdb *r = lmdb_of(rows);
	MDB_envinfo info;
	MDB_stat stat;

	ASSERT(mdb_env_info(r->env, &info) == 0 && mdb_env_stat(r->env, &stat) == 0);
	return (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

static int lmdb_snapshot_open(struct rows *rows, struct rows_snapshot **out)
{
	struct rows_lmdb *r = lmdb_of(rows);
	struct rows_lmdb_snapshot *s = calloc(1, sizeof *s);
	int rc;

	if (s == NULL)
		return -E_NOMEM;
	s->base.rows = rows;
	rc = mdb_txn_begin(r->env, NULL, MDB_RDONLY, &s->txn);
	if (rc != 0)
		goto undo_alloc;
	rc = mdb_cursor_open(s->txn, r->dbi, &s->cursor);
	if (rc != 0)
		goto undo_txn;
	*out = &s->base;
	return 0;
undo_txn:
	mdb_txn_abort(s->txn);
undo_alloc:
	free(s);
	return result_of(rc);
}

static int lmdb_snapshot_next(struct rows_snapshot *snapshot, struct row *out)
{
	struct rows_lmdb_snapshot *s = container_of(snapshot, struct rows_lmdb_snapshot, base);
	MDB_val k, v;
	/* the first one, if it stands nowhere yet */
	int rc = mdb_cursor_get(s->cursor, &k, &v, MDB_NEXT);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0)
		return result_of(rc);
	row_set(out, &k, &v);
	return 1;
}

static void lmdb_snapshot_close(struct rows_snapshot *snapshot)
{
	struct rows_lmdb_snapshot *s = container_of(snapshot, struct rows_lmdb_snapshot, base);

	mdb_cursor_close(s->cursor);
	mdb_txn_abort(s->txn);
	free(s);
}

static void lmdb_destroy(struct rows *rows)
{
	struct rows_lmdb *r = lmdb_of(rows);

	lmdb_abort(rows);
	if (r->read_cursor != NULL)
		mdb_cursor_close(r->read_cursor);
	if (r->read != NULL)
		mdb_txn_abort(r->read);
	if (r->env != NULL)
		mdb_env_close(r->env);
	free(r);
}

static const struct rows_ops ROWS_LMDB_OPS = {
	.get = lmdb_get,
	.put = lmdb_put,
	.del = lmdb_del,
	.next = lmdb_next,
	.commit = lmdb_commit,
	.abort = lmdb_abort,
	.clear = lmdb_clear,
	.bytes = lmdb_bytes,
	.snapshot_open = lmdb_snapshot_open,
	.snapshot_next = lmdb_snapshot_next,
	.snapshot_close = lmdb_snapshot_close,
	.destroy = lmdb_destroy,
};

/* Open the environment, then the read transaction that is kept; LMDB codes. */
static int env_open(struct rows_lmdb *r, const char *directory, uint64_t map_bytes_max)
{
	int dead, rc;

	rc = mdb_env_create(&r->env);
	if (rc != 0)
		return rc;
	rc = mdb_env_set_mapsize(r->env, map_bytes_max);
	if (rc == 0)
		rc = mdb_env_open(r->env, directory, MDB_NOSYNC | MDB_NOTLS, FILE_MODE);
	if (rc == 0)
		/* a killed process leaves its readers behind */
		rc = mdb_reader_check(r->env, &dead);
	if (rc == 0)
		rc = mdb_txn_begin(r->env, NULL, MDB_RDONLY, &r->read);
	if (rc == 0)
		rc = mdb_dbi_open(r->read, NULL, 0, &r->dbi);
	if (rc == 0)
		rc = mdb_cursor_open(r->read, r->dbi, &r->read_cursor);
	r->is_reading = rc == 0;
	return rc;
}

int rows_lmdb_create(const char *directory, uint64_t map_bytes_max, struct rows **out)
{
	struct rows_lmdb *r = calloc(1, sizeof *r);
	int rc;

	if (r == NULL)
		return -E_NOMEM;
	r->base.ops = &ROWS_LMDB_OPS;
	rc = env_open(r, directory, map_bytes_max);
	if (rc != 0) {
		lmdb_destroy(&r->base);
		return result_of(rc);
	}
	read_end(r);
	*out = &r->base;
	return 0;
}
