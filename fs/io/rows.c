/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of rows, whatever the backend: bounds of keys and values, the fault point of a commit.
 * Keys and values are built by our own code, so their bounds are asserted.
 */
#include "fs/io/rows.h"

#include "fs/base/fault.h"

static bool key_is_sound(const void *key, uint32_t key_len)
{
	return key != NULL && key_len >= 1 && key_len <= ROW_KEY_BYTES_MAX;
}

int rows_get(struct rows *r, const void *key, uint32_t key_len, const void **value,
	     uint32_t *value_len)
{
	ASSERT(key_is_sound(key, key_len));
	return r->ops->get(r, key, key_len, value, value_len);
}

int rows_put(struct rows *r, const void *key, uint32_t key_len, const void *value,
	     uint32_t value_len)
{
	ASSERT(key_is_sound(key, key_len) && value_len <= ROW_VALUE_BYTES_MAX);
	return r->ops->put(r, key, key_len, value, value_len);
}

int rows_del(struct rows *r, const void *key, uint32_t key_len)
{
	ASSERT(key_is_sound(key, key_len));
	return r->ops->del(r, key, key_len);
}

int rows_next(struct rows *r, const void *key, uint32_t key_len, struct row *out)
{
	ASSERT(key_len == 0 || key_is_sound(key, key_len));
	return r->ops->next(r, key, key_len, out);
}

int rows_commit(struct rows *r)
{
	if (FAULT(rows_commit)) {
		r->ops->abort(r);
		return -E_IO;
	}
	return r->ops->commit(r);
}

void rows_abort(struct rows *r)
{
	r->ops->abort(r);
}

int rows_clear(struct rows *r)
{
	return r->ops->clear(r);
}

uint64_t rows_bytes(struct rows *r)
{
	return r->ops->bytes(r);
}

int rows_snapshot_open(struct rows *r, struct rows_snapshot **out)
{
	return r->ops->snapshot_open(r, out);
}

int rows_snapshot_next(struct rows_snapshot *s, struct row *out)
{
	return s->rows->ops->snapshot_next(s, out);
}

void rows_snapshot_close(struct rows_snapshot *s)
{
	if (s != NULL)
		s->rows->ops->snapshot_close(s);
}

void rows_destroy(struct rows *r)
{
	if (r != NULL)
		r->ops->destroy(r);
}
