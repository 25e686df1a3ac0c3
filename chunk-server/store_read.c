/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: a record by id, checked on its way out (header, checksum, and that it is the block asked
 * for). What is asked for in one turn is sorted by place, and what lies side by side is one run:
 * one read, and at most one visit at a worker, for what memory does not hold. Each record of it is
 * still checked alone, and read alone should the run fail. Keeps I8: what the disk says is not
 * believed. Descriptors are bounded (I11): segments are opened as they are read, the least recently
 * used closed.
 *
 * Who asks knows what it will need next, so the system reads nothing ahead (DISK_RANDOM): a file's
 * neighbours here are often what other replicas are asked for.
 */
#include "chunk-server/store_internal.h"

#include <stdlib.h>
#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "store"

/* --- open segments ---- */

static struct store_file *file_find(struct cs_store *store, uint64_t number)
{
	struct store_file *file;

	DL_FOREACH (store->files, file) {
		if (file->number == number)
			return file;
	}
	return NULL;
}

static void file_close(struct cs_store *store, struct store_file *file)
{
	DL_DELETE(store->files, file);
	store->file_count--;
	disk_close(file->file);
	free(file);
}

/* Close the least recently used that nobody uses. If all are used, one more is open. */
static void files_trim(struct cs_store *store)
{
	if (store->file_count < STORE_FILES_MAX)
		return;
	for (struct store_file *file = store->files->prev;; file = file->prev) {
		if (file->users == 0) {
			file_close(store, file);
			return;
		}
		if (file == store->files)
			return;
	}
}

struct store_file *cs_store_file_add(struct cs_store *store, uint64_t number,
				     struct disk_file *file)
{
	struct store_file *entry = calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	files_trim(store);
	entry->number = number;
	entry->file = file;
	entry->users = 1;
	DL_PREPEND(store->files, entry);
	store->file_count++;
	return entry;
}

int cs_store_file_get(struct cs_store *store, uint64_t number, struct store_file **out)
{
	char name[STORE_NAME_BYTES];
	struct store_file *file = file_find(store, number);

	if (file != NULL) {
		DL_DELETE(store->files, file);
		DL_PREPEND(store->files, file);
		file->users++;
		*out = file;
		return 0;
	}
	struct disk_file *opened;
	int rc = disk_open(store->options.disk, cs_store_segment_name(number, name),
			   DISK_READ | DISK_RANDOM, &opened);
	if (rc < 0)
		return rc;
	file = cs_store_file_add(store, number, opened);
	if (file == NULL) {
		disk_close(opened);
		return -E_NOMEM;
	}
	*out = file;
	return 0;
}

void cs_store_file_put(struct cs_store *store, struct store_file *file)
{
	ASSERT(file->users > 0);
	file->users--;
	if (file->users == 0 && (file->is_gone || store->file_count > STORE_FILES_MAX))
		file_close(store, file);
}

void cs_store_file_forget(struct cs_store *store, uint64_t number)
{
	struct store_file *file = file_find(store, number);

	if (file == NULL)
		return;
	file->is_gone = true;
	if (file->users == 0)
		file_close(store, file);
}

void cs_store_files_close(struct cs_store *store)
{
	while (store->files != NULL)
		file_close(store, store->files);
}

/* --- reading ---- */

int cs_store_settle(const struct cs_store *store, struct cs_place *place)
{
	bool is_durable = store->active == NULL || place->segment != store->active->number ||
			  place->offset < store->durable_tail;
	/* I4: what was not synced when the disk failed is lost, whatever a cache still says. */
	if (!is_durable && store->is_failed)
		return -E_NO_BLOCK;
	place->generation = is_durable ? store->durable : store->generation;
	return 0;
}

int cs_store_find(struct cs_store *store, const struct block_id *id, struct cs_place *out)
{
	int rc = cs_store_index_get(store, id, out);

	return rc < 0 ? rc : cs_store_settle(store, out);
}

int cs_store_record_judge(const struct buf *buf, int bytes, const struct block_id *id,
			  const struct cs_place *place)
{
	struct record record;

	if (bytes < 0)
		return bytes;
	if ((uint32_t)bytes < place->length)
		return -E_CORRUPT;
	int rc = record_check(buf->data, place->length, &record);
	if (rc < 0)
		return rc == -E_BAD_MAGIC || rc == -E_MALFORMED ? -E_CORRUPT : rc;
	return block_id_equal(&record.id, id) ? 0 : -E_CORRUPT;
}

/* `bytes` were read: is this the record? Takes the buffer back unless it is. */
static int judge(struct cs_get *get, int bytes)
{
	int rc = cs_store_record_judge(get->record, bytes, &get->id, &get->place);

	if (rc == 0) {
		METRIC_INC(block_gets);
		return 0;
	}
	buf_put(get->record);
	get->record = NULL;
	if (rc == -E_CORRUPT)
		METRIC_INC(block_read_corrupt);
	char hex[BLOCK_ID_HEX_BYTES];
	log_error("cannot read a record: %s block=%s seg=%llu off=%llu", error_text(rc),
		  block_id_hex(&get->id, hex), (unsigned long long)get->place.segment,
		  (unsigned long long)get->place.offset);
	return rc;
}

/* --- a run ---- */

/* The bytes at `from` of the run were read, or rc < 0: answer them one by one. */
static void run_answer(struct cs_get *first, int rc)
{
	struct cs_store *store = first->store;
	uint32_t left = rc < 0 ? 0 : (uint32_t)rc;
	struct cs_get *get, *next = first;

	cs_store_file_put(store, first->file);
	for (uint32_t count = first->run_count; count > 0; count--) {
		get = next;
		next = get->next; /* done() may use it for another */
		uint32_t bytes = MIN_OF(left, (uint32_t)store_padded(get->place.length));
		left -= bytes;
		get->rc = judge(get, rc < 0 ? rc : (int)bytes);
		get->done(get);
	}
}

static void run_start(struct cs_get *first, struct store_file *file);

/* One sector that cannot be read must not cost its neighbours. */
static void run_split(struct cs_get *first)
{
	struct cs_get *get, *next = first;
	struct store_file *file = first->file;

	for (uint32_t count = first->run_count; count > 0; count--) {
		get = next;
		next = get->next;
		get->run_count = 1;
		file->users++;
		run_start(get, file);
	}
	cs_store_file_put(first->store, file);
}

static void run_ended(struct cs_get *first, int rc)
{
	if (rc < 0 && first->run_count > 1)
		run_split(first);
	else
		run_answer(first, rc < 0 ? rc : rc + (int)first->cached_bytes);
}

static void read_done(struct disk_op *op)
{
	struct cs_get *first = container_of(op, struct cs_get, op);

	first->store->reads--;
	run_ended(first, op->rc);
}

/* Where each record goes. */
static void run_gather(struct cs_get *first)
{
	struct cs_get *get = first;

	first->run_bytes = 0;
	first->cached_bytes = 0;
	for (uint32_t i = 0; i < first->run_count; i++, get = get->next) {
		uint32_t bytes = (uint32_t)store_padded(get->place.length);

		first->iov[i] = (struct iovec){get->record->data, bytes};
		first->run_bytes += bytes;
	}
}

/* The rest, behind what memory held, by a worker. */
static void run_submit(struct cs_get *first)
{
	uint32_t skip = first->cached_bytes, index = 0;

	while (skip >= first->iov[index].iov_len)
		skip -= (uint32_t)first->iov[index++].iov_len;
	first->iov[index].iov_base = (uint8_t *)first->iov[index].iov_base + skip;
	first->iov[index].iov_len -= skip;
	first->store->reads++;
	first->op = (struct disk_op){
		.kind = DISK_OP_READV,
		.file = first->file->file,
		.iov = &first->iov[index],
		.iov_count = (int)(first->run_count - index),
		.offset = first->place.offset + first->cached_bytes,
		.done = read_done,
	};
	disk_submit(first->store->options.loop, &first->op);
}

static void run_start(struct cs_get *first, struct store_file *file)
{
	first->file = file;
	run_gather(first);
	int rc = disk_readv_cached(file->file, first->iov, (int)first->run_count,
				   first->place.offset);
	if (rc < 0 && rc != -E_AGAIN) {
		run_ended(first, rc);
		return;
	}
	first->cached_bytes = rc > 0 ? (uint32_t)rc : 0;
	if (first->cached_bytes == first->run_bytes)
		run_answer(first, rc);
	else
		run_submit(first);
}

/* --- what was asked in a turn ---- */

/* Where is it? Without a place or memory for it, it is answered now. */
static bool get_prepare(struct cs_get *get)
{
	int rc = cs_store_find(get->store, &get->id, &get->place);

	if (rc == 0) {
		uint32_t bytes = (uint32_t)store_padded(get->place.length);

		get->record = buf_get(get->store->options.pool, bytes);
		rc = get->record != NULL ? 0 : -E_OVERLOADED;
	}
	if (rc == 0) {
		get->record->len = get->place.length;
		return true;
	}
	get->rc = rc;
	get->done(get);
	return false;
}

static int by_place(const struct cs_get *a, const struct cs_get *b)
{
	if (a->place.segment != b->place.segment)
		return a->place.segment < b->place.segment ? -1 : 1;
	return (a->place.offset > b->place.offset) - (a->place.offset < b->place.offset);
}

static bool is_neighbour(const struct cs_get *a, const struct cs_get *b)
{
	return a->place.segment == b->place.segment &&
	       a->place.offset + store_padded(a->place.length) == b->place.offset;
}

/* How many from here on are one run. */
static uint32_t run_length(const struct cs_get *first)
{
	uint32_t count = 1;

	for (const struct cs_get *get = first;
	     count < STORE_RUN_MAX && get->next != NULL && is_neighbour(get, get->next);
	     get = get->next)
		count++;
	return count;
}

static void run_begin(struct cs_get *first)
{
	struct store_file *file;
	int rc = cs_store_file_get(first->store, first->place.segment, &file);

	if (rc == 0) {
		run_start(first, file);
		return;
	}
	struct cs_get *next = first;
	for (uint32_t count = first->run_count; count > 0; count--) {
		struct cs_get *get = next;

		next = get->next;
		buf_put(get->record);
		get->record = NULL;
		get->rc = rc == -E_NOENT ? -E_NO_BLOCK : rc;
		get->done(get);
	}
}

static void asked_run(struct loop_task *task)
{
	struct cs_store *store = container_of(task, struct cs_store, read_task);
	struct cs_get *asked = store->asked, *found = NULL;

	/* What done() asks for waits for the next turn. */
	store->asked = NULL;
	store->is_read_posted = false;
	while (asked != NULL) {
		struct cs_get *get = asked;

		asked = get->next;
		if (get_prepare(get))
			LL_PREPEND(found, get);
	}
	LL_SORT(found, by_place);
	while (found != NULL) {
		struct cs_get *first = found;

		first->run_count = run_length(first);
		for (uint32_t i = 0; i < first->run_count; i++)
			found = found->next;
		run_begin(first);
	}
	store->tasks--;
}

void cs_store_get(struct cs_store *store, struct cs_get *get)
{
	get->store = store;
	get->record = NULL;
	LL_PREPEND(store->asked, get);
	if (store->is_read_posted)
		return;
	store->is_read_posted = true;
	store->tasks++; /* until all of them are answered, or in flight */
	store->read_task.run = asked_run;
	loop_post(store->options.loop, &store->read_task);
}

void cs_store_quarantine(struct cs_store *store, const struct block_id *id,
			 const struct cs_place *place)
{
	struct cs_place found;

	if (cs_store_index_get(store, id, &found) < 0 || found.segment != place->segment ||
	    found.offset != place->offset)
		return;
	/* Forgetting that it was forgotten means finding the damage again. */
	if (cs_store_change(store, id, &found, NULL, false) < 0)
		return;
	store->counts.damaged++;
}
