/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordered rows: byte keys (1 .. ROW_KEY_BYTES_MAX, compared as memcmp) to byte values (<=
 * ROW_VALUE_ BYTES_MAX). The state of the metadata server and the index of a chunk server live in
 * rows. An interface: rows_lmdb.c for service, rows_mem.c (a sorted array) for simulation and
 * tests; both pass tests/unit/io/test_rows.c. A store of rows is a discardable view (I15,
 * fs/io/view.h): never synced.
 *
 * One writer transaction at a time is open implicitly: puts and deletes are seen by later gets at
 * once, and by snapshots opened after rows_commit(). After a put, delete or clear that failed (but
 * for -E_NOENT), or a commit that failed, what was not committed is lost: call rows_abort().
 *
 * Threads: the owner's; a snapshot may be read and closed on another thread, before rows_destroy().
 * Arguments must not be memory borrowed from the same rows.
 */
#ifndef CAIRN_FS_IO_ROWS_H
#define CAIRN_FS_IO_ROWS_H

#include "fs/base/base.h"

struct rows;
struct rows_snapshot;

struct row {
	/* borrowed until the next call on the rows */
	const uint8_t *key; uint32_t key_len;
	const uint8_t *value; uint32_t value_len;
};

struct rows_ops {
	int (*get)(struct rows *rows, const void *key, uint32_t key_len, const void **value,
		   uint32_t *value_len);
	int (*put)(struct rows *rows, const void *key, uint32_t key_len, const void *value,
		   uint32_t value_len);
	int (*del)(struct rows *rows, const void *key, uint32_t key_len);
	int (*next)(struct rows *rows, const void *key, uint32_t key_len, struct row *out);
	int (*commit)(struct rows *rows);
	void (*abort)(struct rows *rows);
	int (*clear)(struct rows *rows);
	uint64_t (*bytes)(struct rows *rows);
	int (*snapshot_open)(struct rows *rows, struct rows_snapshot **out);
	int (*snapshot_next)(struct rows_snapshot *s, struct row *out);
	void (*snapshot_close)(struct rows_snapshot *s);
	void (*destroy)(struct rows *rows);
};
struct rows { const struct rows_ops *ops; };
struct rows_snapshot { struct rows *rows; };

/*
 * In an existing directory on a real disk, at most map_bytes_max large: -E_NOSPC from puts when
 * full, -E_CORRUPT here if what is there is no such store (open the view first: it discards what is
 * doubtful).
 */
must_check int rows_lmdb_create(const char *directory, uint64_t map_bytes_max, struct rows **out);
must_check int rows_mem_create(struct rows **out);

/* 0 and a borrowed value, or -E_NOENT. */
must_check int rows_get(struct rows *r, const void *key, uint32_t key_len, const void **value,
			uint32_t *value_len);
must_check int rows_put(struct rows *r, const void *key, uint32_t key_len, const void *value,
			uint32_t value_len);
/* -E_NOENT if absent */
must_check int rows_del(struct rows *r, const void *key, uint32_t key_len);
/* The first row with a key >= the given one (of 0 bytes: the very first); -E_NOENT at the end. */
must_check int rows_next(struct rows *r, const void *key, uint32_t key_len, struct row *out);
must_check int rows_commit(struct rows *r);	/* fault point rows_commit */
void rows_abort(struct rows *r);		/* drop what was not committed */
must_check int rows_clear(struct rows *r);	/* delete every row; not yet committed */
uint64_t rows_bytes(struct rows *r);		/* of the file, or of keys and values in memory */
/* All rows as of the last commit, in key order: 1 a row, 0 the end, or an error. */
must_check int rows_snapshot_open(struct rows *r, struct rows_snapshot **out);
must_check int rows_snapshot_next(struct rows_snapshot *s, struct row *out);
void rows_snapshot_close(struct rows_snapshot *s);
void rows_destroy(struct rows *r);

#endif
