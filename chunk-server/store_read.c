/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: a record by id, checked on its way out (header, checksum, and that it is the block asked
 * for). Pages in memory are answered without a worker. Keeps I8: what the disk says is not
 * believed. Descriptors are bounded (I11): segments are opened as they are read, the least recently
 * used closed.
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
	int rc = disk_open(store->options.disk, cs_store_segment_name(number, name), DISK_READ,
			   &opened);
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

static void answer_task(struct loop_task *task)
{
	struct cs_get *get = container_of(task, struct cs_get, task);

	get->store->tasks--;
	get->done(get);
}

/* Answer, but never inside the call that asked. */
static void answer_later(struct cs_get *get, int rc)
{
	get->rc = rc;
	get->task.run = answer_task;
	get->store->tasks++;
	loop_post(get->store->options.loop, &get->task);
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

static void read_done(struct disk_op *op)
{
	struct cs_get *get = container_of(op, struct cs_get, op);
	struct cs_store *store = get->store;

	cs_store_file_put(store, get->file);
	store->reads--;
	get->rc = judge(get, op->rc);
	get->done(get);
}

void cs_store_get(struct cs_store *store, struct cs_get *get)
{
	get->store = store;
	get->record = NULL;
	int rc = cs_store_find(store, &get->id, &get->place);
	if (rc == 0)
		rc = cs_store_file_get(store, get->place.segment, &get->file);
	if (rc < 0) {
		answer_later(get, rc == -E_NOENT ? -E_NO_BLOCK : rc);
		return;
	}
	get->record = buf_get(store->options.pool, get->place.length);
	if (get->record == NULL) {
		cs_store_file_put(store, get->file);
		answer_later(get, -E_OVERLOADED);
		return;
	}
	get->record->len = get->place.length;
	rc = disk_read_cached(get->file->file, get->record->data, get->place.length,
			      get->place.offset);
	if (rc != -E_AGAIN) {
		cs_store_file_put(store, get->file);
		answer_later(get, judge(get, rc));
		return;
	}
	store->reads++;
	get->op = (struct disk_op){
		.kind = DISK_OP_READ,
		.file = get->file->file,
		.data = get->record->data,
		.len = get->place.length,
		.offset = get->place.offset,
		.done = read_done,
	};
	disk_submit(store->options.loop, &get->op);
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
