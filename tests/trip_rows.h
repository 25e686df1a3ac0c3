/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that stumble at one chosen change (put, del or commit), as on a full disk: it fails, and
 * with it goes what was not committed.
 */
#ifndef CAIRN_TESTS_TRIP_ROWS_H
#define CAIRN_TESTS_TRIP_ROWS_H

#include <string.h>

#include "fs/io/rows.h"

struct trip_rows {
	struct rows base;
	struct rows *inner; /* not owned */
	uint64_t at;	    /* the change that fails, from 1; 0: none */
	int rc;
	uint64_t calls;
	bool has_tripped;
};

static inline struct rows *trip_rows_inner(struct rows *rows)
{
	return container_of(rows, struct trip_rows, base)->inner;
}

static inline int trip_change(struct rows *rows)
{
	struct trip_rows *t = container_of(rows, struct trip_rows, base);

	if (t->at == 0 || ++t->calls != t->at)
		return 0;
	t->has_tripped = true;
	rows_abort(t->inner);
	return t->rc;
}

static inline int trip_rows_get(struct rows *rows, const void *key, uint32_t key_len,
				const void **value, uint32_t *value_len)
{
	return rows_get(trip_rows_inner(rows), key, key_len, value, value_len);
}

static inline int trip_rows_put(struct rows *rows, const void *key, uint32_t key_len,
				const void *value, uint32_t value_len)
{
	int rc = trip_change(rows);

	return rc < 0 ? rc : rows_put(trip_rows_inner(rows), key, key_len, value, value_len);
}

static inline int trip_rows_del(struct rows *rows, const void *key, uint32_t key_len)
{
	int rc = trip_change(rows);

	return rc < 0 ? rc : rows_del(trip_rows_inner(rows), key, key_len);
}

static inline int trip_rows_next(struct rows *rows, const void *key, uint32_t key_len,
				 struct row *out)
{
	return rows_next(trip_rows_inner(rows), key, key_len, out);
}

static inline int trip_rows_commit(struct rows *rows)
{
	int rc = trip_change(rows);

	return rc < 0 ? rc : rows_commit(trip_rows_inner(rows));
}

static inline void trip_rows_abort(struct rows *rows)
{
	rows_abort(trip_rows_inner(rows));
}

static inline int trip_rows_clear(struct rows *rows)
{
	return rows_clear(trip_rows_inner(rows));
}

static inline uint64_t trip_rows_bytes(struct rows *rows)
{
	return rows_bytes(trip_rows_inner(rows));
}

static const struct rows_ops TRIP_ROWS_OPS = {
	.get = trip_rows_get,
	.put = trip_rows_put,
	.del = trip_rows_del,
	.next = trip_rows_next,
	.commit = trip_rows_commit,
	.abort = trip_rows_abort,
	.clear = trip_rows_clear,
	.bytes = trip_rows_bytes,
};

static inline void trip_rows_init(struct trip_rows *t, struct rows *inner)
{
	memset(t, 0, sizeof(*t));
	t->base.ops = &TRIP_ROWS_OPS;
	t->inner = inner;
}

static inline void trip_rows_arm(struct trip_rows *t, uint64_t at, int rc)
{
	t->at = at;
	t->rc = rc;
	t->calls = 0;
	t->has_tripped = false;
}

#endif
