/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows in memory, for simulation and tests: an array of pointers, sorted by key.
 *
 * A change is logged with the row before and the row after it. A commit frees the rows before, an
 * abort reverts the log from its end; a snapshot does the same to a copy of the array, so that it
 * shows the last commit, and then copies the rows, so that it may go to another thread.
 */
#include "fs/io/rows.h"

#include <stdlib.h>
#include <string.h>

struct mem_row {
	uint32_t key_len, value_len;
	uint8_t bytes[];	/* key, value */
};

struct table {
	struct mem_row **rows;
	size_t count, capacity;
};

struct change {
	struct mem_row *before;	/* owned by the log; NULL: there was none */
	struct mem_row *after;	/* owned by the table; NULL: deleted */
};

struct rows_mem {
	struct rows base;	/* first */
	struct table table;
	struct change *changes;	/* since the last commit */
	size_t change_count, change_capacity;
	uint64_t bytes;		/* of all keys and values */
};

struct rows_mem_snapshot {
	struct rows_snapshot base;	/* first */
	struct table table;		/* its rows are owned */
	size_t next;
};

static struct rows_mem *mem_of(struct rows *rows)
{
	return container_of(rows, struct rows_mem, base);
}

/* --- rows and tables -------------------------------------------------------------------------- */

static struct mem_row *row_create(const void *key, uint32_t key_len, const void *value,
				  uint32_t value_len)
{
	struct mem_row *row = malloc(sizeof *row + key_len + value_len);

	if (row == NULL)
		return NULL;
	row->key_len = key_len;
	row->value_len = value_len;
	memcpy(row->bytes, key, key_len);
	if (value_len > 0)
		memcpy(row->bytes + key_len, value, value_len);
	return row;
}

static uint64_t row_bytes(const struct mem_row *row)
{
	return row != NULL ? (uint64_t)row->key_len + row->value_len : 0;
}

static void row_show(const struct mem_row *row, struct row *out)
{
	*out = (struct row){
		.key = row->bytes, .key_len = row->key_len,
		.value = row->bytes + row->key_len, .value_len = row->value_len,
	};
}

static int key_compare(const struct mem_row *row, const void *key, uint32_t key_len)
{
	uint32_t common = MIN_OF(row->key_len, key_len);
	int order = common > 0 ? memcmp(row->bytes, key, common) : 0;

	return order != 0 ? order : (row->key_len > key_len) - (row->key_len < key_len);
}

/* The index of the first row with a key >= the given one. */
static size_t table_seek(const struct table *t, const void *key, uint32_t key_len, bool *is_there)
{
	size_t low = 0, high = t->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (key_compare(t->rows[middle], key, key_len) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*is_there = low < t->count && key_compare(t->rows[low], key, key_len) == 0;
	return low;
}

static bool table_reserve(struct table *t, size_t count)
{
	size_t capacity = MAX_OF(count, t->capacity * 2);
	struct mem_row **grown;

	if (count <= t->capacity)
		return true;
	grown = realloc(t->rows, capacity * sizeof(*grown));
	if (grown == NULL)
		return false;
	t->rows = grown;
	t->capacity = capacity;
	return true;
}

/* Room for it was reserved. */
static void table_insert(struct table *t, size_t index, struct mem_row *row)
{
	ASSERT(t->count < t->capacity);
	memmove(t->rows + index + 1, t->rows + index, (t->count - index) * sizeof(*t->rows));
	t->rows[index] = row;
	t->count++;
}

static void table_remove(struct table *t, size_t index)
{
	t->count--;
	memmove(t->rows + index, t->rows + index + 1, (t->count - index) * sizeof(*t->rows));
}

static void table_revert(struct table *t, const struct change *c)
{
	const struct mem_row *either = c->after != NULL ? c->after : c->before;
	bool is_there;
	size_t index = table_seek(t, either->bytes, either->key_len, &is_there);

	ASSERT(is_there == (c->after != NULL));
	if (c->before == NULL)
		table_remove(t, index);
	else if (c->after == NULL)
		table_insert(t, index, c->before);
	else
		t->rows[index] = c->before;
}

static void table_finish(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->rows[i]);
	free(t->rows);
}

/* --- operations ------------------------------------------------------------------------------- */

static bool changes_reserve(struct rows_mem *r)
{
	size_t capacity = r->change_capacity > 0 ? r->change_capacity * 2 : 64;
	struct change *grown;

	if (r->change_count < r->change_capacity)
		return true;
	grown = realloc(r->changes, capacity * sizeof(*grown));
	if (grown == NULL)
		return false;
	r->changes = grown;
	r->change_capacity = capacity;
	return true;
}

static void changes_add(struct rows_mem *r, struct mem_row *before, struct mem_row *after)
{
	r->changes[r->change_count++] = (struct change){ .before = before, .after = after };
	r->bytes += row_bytes(after) - row_bytes(before);
}

static int mem_get(struct rows *rows, const void *key, uint32_t key_len, const void **value,
		   uint32_t *value_len)
{
	struct rows_mem *r = mem_of(rows);
	bool is_there;
	size_t index = table_seek(&r->table, key, key_len, &is_there);

	if (!is_there)
		return -E_NOENT;
	*value = r->table.rows[index]->bytes + key_len;
	*value_len = r->table.rows[index]->value_len;
	return 0;
}

static int mem_put(struct rows *rows, const void *key, uint32_t key_len, const void *value,
		   uint32_t value_len)
{
	struct rows_mem *r = mem_of(rows);
	struct mem_row *row, *before;
	bool is_there;
	size_t index;

	if (!changes_reserve(r) || !table_reserve(&r->table, r->table.count + 1))
		return -E_NOMEM;
	row = row_create(key, key_len, value, value_len);
	if (row == NULL)
		return -E_NOMEM;
	index = table_seek(&r->table, key, key_len, &is_there);
	before = is_there ? r->table.rows[index] : NULL;
	if (is_there)
		r->table.rows[index] = row;
	else
		table_insert(&r->table, index, row);
	changes_add(r, before, row);
	return 0;
}

static int mem_del(struct rows *rows, const void *key, uint32_t key_len)
{
	struct rows_mem *r = mem_of(rows);
	bool is_there;
	size_t index = table_seek(&r->table, key, key_len, &is_there);

	if (!is_there)
		return -E_NOENT;
	if (!changes_reserve(r))
		return -E_NOMEM;
	changes_add(r, r->table.rows[index], NULL);
	table_remove(&r->table, index);
	return 0;
}

static int mem_next(struct rows *rows, const void *key, uint32_t key_len, struct row *out)
{
	struct rows_mem *r = mem_of(rows);
	bool is_there;
	size_t index = table_seek(&r->table, key, key_len, &is_there);

	if (index == r->table.count)
		return -E_NOENT;
	row_show(r->table.rows[index], out);
	return 0;
}

static int mem_commit(struct rows *rows)
{
	struct rows_mem *r = mem_of(rows);

	for (size_t i = 0; i < r->change_count; i++)
		free(r->changes[i].before);
	r->change_count = 0;
	return 0;
}

static void mem_abort(struct rows *rows)
{
	struct rows_mem *r = mem_of(rows);

	while (r->change_count > 0) {
		struct change *c = &r->changes[--r->change_count];

		/* The table only ever grew since, so there is room to put back what was deleted. */
		table_revert(&r->table, c);
		r->bytes += row_bytes(c->before) - row_bytes(c->after);
		free(c->after);
	}
}

static int mem_clear(struct rows *rows)
{
	struct rows_mem *r = mem_of(rows);

	while (r->table.count > 0) {
		if (!changes_reserve(r))
			return -E_NOMEM;
		changes_add(r, r->table.rows[--r->table.count], NULL);
	}
	return 0;
}

static uint64_t mem_bytes(struct rows *rows)
{
	return mem_of(rows)->bytes;
}

static void mem_snapshot_close(struct rows_snapshot *snapshot)
{
	struct rows_mem_snapshot *s = container_of(snapshot, struct rows_mem_snapshot, base);

	table_finish(&s->table);
	free(s);
}

/* Replace each borrowed row by a copy; after a failure the table holds the copies alone. */
static bool table_copy_rows(struct table *t)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct mem_row *row = t->rows[i];

		t->rows[i] = row_create(row->bytes, row->key_len, row->bytes + row->key_len,
					row->value_len);
		if (t->rows[i] == NULL) {
			t->count = i;
			return false;
		}
	}
	return true;
}

static int mem_snapshot_open(struct rows *rows, struct rows_snapshot **out)
{
	struct rows_mem *r = mem_of(rows);
	struct rows_mem_snapshot *s = calloc(1, sizeof *s);

	if (s == NULL)
		return -E_NOMEM;
	s->base.rows = rows;
	if (!table_reserve(&s->table, r->table.count + r->change_count))
		goto undo;
	for (; s->table.count < r->table.count; s->table.count++)
		s->table.rows[s->table.count] = r->table.rows[s->table.count];
	for (size_t i = r->change_count; i > 0; i--)
		table_revert(&s->table, &r->changes[i - 1]);
	if (!table_copy_rows(&s->table))
		goto undo;
	*out = &s->base;
	return 0;
undo:
	mem_snapshot_close(&s->base);
	return -E_NOMEM;
}

static int mem_snapshot_next(struct rows_snapshot *snapshot, struct row *out)
{
	struct rows_mem_snapshot *s = container_of(snapshot, struct rows_mem_snapshot, base);

	if (s->next == s->table.count)
		return 0;
	row_show(s->table.rows[s->next++], out);
	return 1;
}

static void mem_destroy(struct rows *rows)
{
	struct rows_mem *r = mem_of(rows);

	mem_abort(rows);
	table_finish(&r->table);
	free(r->changes);
	free(r);
}

static const struct rows_ops ROWS_MEM_OPS = {
	.get = mem_get,
	.put = mem_put,
	.del = mem_del,
	.next = mem_next,
	.commit = mem_commit,
	.abort = mem_abort,
	.clear = mem_clear,
	.bytes = mem_bytes,
	.snapshot_open = mem_snapshot_open,
	.snapshot_next = mem_snapshot_next,
	.snapshot_close = mem_snapshot_close,
	.destroy = mem_destroy,
};

int rows_mem_create(struct rows **out)
{
	struct rows_mem *r = calloc(1, sizeof *r);

	if (r == NULL)
		return -E_NOMEM;
	r->base.ops = &ROWS_MEM_OPS;
	*out = &r->base;
	return 0;
}
