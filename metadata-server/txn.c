/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay: a sorted array of changed rows over the rows themselves. A batch changes some
 * hundreds of rows, so binary search and memmove of pointers beat any tree, and a flush is one walk
 * in key order.
 *
 * An entry remembers, while an event runs, what it was before, so that the event can be dropped. An
 * entry in state ROW_NONE hides nothing: it is what an aborted event leaves behind.
 *
 * Out of memory cannot be told by a put: it is remembered, and encode and flush then fail for good.
 */
#include "metadata-server/txn.h"

#include <stdlib.h>
#include <string.h>

/* Replay flushes by itself at this many rows, so that the array stays small. */
#define TXN_APPLY_ENTRIES_MAX 4096u

enum entry_state { ROW_NONE = 0, ROW_IS_PUT = ROW_PUT, ROW_IS_DELETED = ROW_DELETE };

struct version {
	enum entry_state state;
	uint8_t *value;		/* owned */
	uint32_t value_len;
};

struct entry {
	uint64_t event;		/* the last event that changed it */
	struct version now;
	struct version before;	/* as it was when `event` began */
	uint32_t key_len;
	uint8_t key[];
};

struct entry_list {
	struct entry **at;
	size_t count, capacity;
};

struct ms_txn {
	struct rows *rows;
	struct entry_list sorted;	/* by key */
	/* changed by this event, in the order of their first change */
	struct entry_list event;
	uint64_t event_number;
	uint32_t event_bytes;		/* of the encoded event */
	int failed;			/* sticky: 0 or -E_NOMEM */
};

static bool list_grow(struct entry_list *l)
{
	size_t capacity = l->capacity ? 2 * l->capacity : 256;
	struct entry **at;

	if (l->count < l->capacity)
		return true;
	at = realloc(l->at, capacity * sizeof *at);
	if (!at)
		return false;
	l->at = at;
	l->capacity = capacity;
	return true;
}

static int key_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
	int c = memcmp(a, b, MIN_OF(a_len, b_len));

	if (c)
		return c;
	return a_len < b_len ? -1 : a_len > b_len;
}

/* Index of the first entry with a key >= the given; *exact tells if it is that key. */
static size_t entry_find(const struct ms_txn *txn, const void *key, uint32_t key_len, bool *exact)
{
	size_t low = 0, high = txn->sorted.count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct entry *e = txn->sorted.at[mid];

		if (key_compare(e->key, e->key_len, key, key_len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*exact = low < txn->sorted.count &&
		 key_compare(txn->sorted.at[low]->key, txn->sorted.at[low]->key_len, key,
			     key_len) == 0;
	return low;
}

static void entry_free(struct entry *e)
{
	free(e->now.value);
	free(e->before.value);
	free(e);
}

static struct entry *entry_insert(struct ms_txn *txn, size_t at, const void *key, uint32_t key_len)
{
	struct entry *e;

	if (!list_grow(&txn->sorted))
		return NULL;
	e = calloc(1, sizeof *e + key_len);
	if (!e)
		return NULL;
	e->key_len = key_len;
	memcpy(e->key, key, key_len);
	memmove(txn->sorted.at + at + 1, txn->sorted.at + at,
		(txn->sorted.count - at) * sizeof *txn->sorted.at);
	txn->sorted.at[at] = e;
	txn->sorted.count++;
	return e;
}

static uint32_t change_bytes(const struct entry *e)
{
	return JOURNAL_CHANGE_HEADER_BYTES + e->key_len + e->now.value_len;
}

/* The entry of a key, ready to be changed by the present event. */
static struct entry *entry_for_change(struct ms_txn *txn, const void *key, uint32_t key_len)
{
	bool exact;
	size_t at = entry_find(txn, key, key_len, &exact);
	struct entry *e = exact ? txn->sorted.at[at] : entry_insert(txn, at, key, key_len);

	if (!e || !list_grow(&txn->event))
		return NULL;
	if (e->event == txn->event_number) {
		txn->event_bytes -= change_bytes(e);
		return e;
	}
	free(e->before.value);
	e->before = e->now;
	e->now = (struct version){ .state = ROW_NONE };
	e->event = txn->event_number;
	txn->event.at[txn->event.count++] = e;
	return e;
}

static void change(struct ms_txn *txn, const void *key, uint32_t key_len,
		   const struct row_change *to)
{
	uint8_t *value = NULL;
	struct entry *e;

	ASSERT(key_len >= 1 && key_len <= ROW_KEY_BYTES_MAX &&
	       to->value_len <= ROW_VALUE_BYTES_MAX);
	if (to->op == ROW_PUT) {
		/*
		 * Copied before the entry is touched: the caller may be changing a borrowed value.
		 */
		value = malloc(to->value_len ? to->value_len : 1);
		if (value && to->value_len)
			memcpy(value, to->value, to->value_len);
	}
	e = to->op == ROW_PUT && !value ? NULL : entry_for_change(txn, key, key_len);
	if (!e) {
		free(value);
		txn->failed = -E_NOMEM;
		return;
	}
	free(e->now.value);
	e->now = (struct version){ (enum entry_state)to->op, value, to->value_len };
	txn->event_bytes += change_bytes(e);
}

int ms_txn_create(struct rows *rows, struct ms_txn **out)
{
	struct ms_txn *txn = calloc(1, sizeof *txn);

	if (!txn)
		return -E_NOMEM;
	txn->rows = rows;
	txn->event_number = 1;
	*out = txn;
	return 0;
}

void ms_txn_forget(struct ms_txn *txn)
{
	for (size_t i = 0; i < txn->sorted.count; i++)
		entry_free(txn->sorted.at[i]);
	txn->sorted.count = 0;
	txn->event.count = 0;
	txn->event_bytes = 0;
}

void ms_txn_destroy(struct ms_txn *txn)
{
	if (!txn)
		return;
	ms_txn_forget(txn);
	free(txn->sorted.at);
	free(txn->event.at);
	free(txn);
}

int ms_txn_get(struct ms_txn *txn, const void *key, uint32_t key_len, const void **value,
	       uint32_t *value_len)
{
	bool exact;
	size_t at = entry_find(txn, key, key_len, &exact);
	const struct entry *e = exact ? txn->sorted.at[at] : NULL;

	if (!e || e->now.state == ROW_NONE)
		return rows_get(txn->rows, key, key_len, value, value_len);
	if (e->now.state == ROW_IS_DELETED)
		return -E_NOENT;
	*value = e->now.value;
	*value_len = e->now.value_len;
	return 0;
}

void ms_txn_put(struct ms_txn *txn, const void *key, uint32_t key_len, const void *value,
		uint32_t value_len)
{
	change(txn, key, key_len,
	       &(struct row_change){ .op = ROW_PUT, .value = value, .value_len = value_len });
}

void ms_txn_del(struct ms_txn *txn, const void *key, uint32_t key_len)
{
	change(txn, key, key_len, &(struct row_change){ .op = ROW_DELETE });
}

/* The key that follows `key` directly: the same with a zero byte behind it. */
static uint32_t key_after(uint8_t out[ROW_KEY_BYTES_MAX + 1], const uint8_t *key, uint32_t key_len)
{
	ASSERT(key_len <= ROW_KEY_BYTES_MAX);
	memcpy(out, key, key_len);
	out[key_len] = 0;
	return key_len + 1;
}

int ms_txn_next(struct ms_txn *txn, const void *key, uint32_t key_len, struct row *out)
{
	uint8_t after[ROW_KEY_BYTES_MAX + 1];
	bool exact;
	size_t at = entry_find(txn, key, key_len, &exact);
	int rc = rows_next(txn->rows, key, key_len, out);

	for (;;) {
		const struct entry *e;
		int c;

		while (at < txn->sorted.count && txn->sorted.at[at]->now.state == ROW_NONE)
			at++;
		e = at < txn->sorted.count ? txn->sorted.at[at] : NULL;
		if (!e || (rc < 0 && rc != -E_NOENT))
			return rc;
		c = rc == 0 ? key_compare(e->key, e->key_len, out->key, out->key_len) : -1;
		if (c > 0)
			return 0;
		if (e->now.state == ROW_IS_PUT) {
			*out = (struct row){ e->key, e->key_len, e->now.value, e->now.value_len };
			return 0;
		}
		at++;
		if (c == 0) {	/* deleted: it hides the row, look behind it */
			uint32_t len = key_after(after, out->key, out->key_len);

			rc = len > ROW_KEY_BYTES_MAX ? -E_NOENT
						     : rows_next(txn->rows, after, len, out);
		}
	}
}

void ms_txn_event_begin(struct ms_txn *txn)
{
	txn->event_number++;
	txn->event.count = 0;
	txn->event_bytes = 0;
}

uint32_t ms_txn_event_changes(const struct ms_txn *txn)
{
	return (uint32_t)txn->event.count;
}

uint32_t ms_txn_event_bytes(const struct ms_txn *txn)
{
	return txn->event_bytes;
}

void ms_txn_event_abort(struct ms_txn *txn)
{
	for (size_t i = 0; i < txn->event.count; i++) {
		struct entry *e = txn->event.at[i];

		free(e->now.value);
		e->now = e->before;
		e->before = (struct version){ .state = ROW_NONE };
		e->event = 0;
	}
	ms_txn_event_begin(txn);
}

int ms_txn_event_encode(struct ms_txn *txn, uint8_t *out, uint32_t capacity, uint32_t *change_count)
{
	struct wr w;

	if (txn->failed)
		return txn->failed;
	if (capacity < JOURNAL_HEADER_BYTES || capacity - JOURNAL_HEADER_BYTES < txn->event_bytes)
		return -E_TOOBIG;
	w = wr_init(out + JOURNAL_HEADER_BYTES, capacity - JOURNAL_HEADER_BYTES);
	for (size_t i = 0; i < txn->event.count; i++) {
		const struct entry *e = txn->event.at[i];

		journal_change_write(&w, &(struct row_change){
			.op = (enum row_op)e->now.state, .key = e->key,
			.key_len = (uint16_t)e->key_len, .value = e->now.value,
			.value_len = e->now.value_len });
	}
	ASSERT(wr_ok(&w) && wr_len(&w) == txn->event_bytes);
	*change_count = (uint32_t)txn->event.count;
	return (int)wr_len(&w);
}

static int flush_one(struct rows *rows, const struct entry *e)
{
	int rc = 0;

	if (e->now.state == ROW_IS_PUT)
		return rows_put(rows, e->key, e->key_len, e->now.value, e->now.value_len);
	if (e->now.state == ROW_IS_DELETED)
		rc = rows_del(rows, e->key, e->key_len);
	return rc == -E_NOENT ? 0 : rc;		/* made and deleted within the batch */
}

int ms_txn_write(struct ms_txn *txn)
{
	int rc = txn->failed;

	for (size_t i = 0; i < txn->sorted.count && rc == 0; i++)
		rc = flush_one(txn->rows, txn->sorted.at[i]);
	return rc;
}

int ms_txn_flush(struct ms_txn *txn)
{
	int rc = ms_txn_write(txn);

	if (rc < 0)
		return rc;
	ms_txn_forget(txn);
	return 0;
}

int ms_txn_apply(struct ms_txn *txn, const uint8_t *payload, uint32_t len)
{
	struct rd r = rd_init(payload, len);
	struct row_change c;
	int rc;

	if (txn->sorted.count >= TXN_APPLY_ENTRIES_MAX) {
		rc = ms_txn_flush(txn);
		if (rc < 0)
			return rc;
	}
	ms_txn_event_begin(txn);
	while ((rc = journal_change_read(&r, &c)) > 0) {
		if (c.key_len < 1 || c.key_len > ROW_KEY_BYTES_MAX ||
		    c.value_len > ROW_VALUE_BYTES_MAX) {
			rc = -E_MALFORMED;
			break;
		}
		change(txn, c.key, c.key_len, &c);
	}
	if (rc < 0)
		ms_txn_event_abort(txn);	/* a record is applied whole or not at all */
	return rc < 0 ? rc : txn->failed;
}
