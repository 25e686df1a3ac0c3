/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: where a record is, and the open files. What is asked for in one turn is sorted by place,
 * and what lies together is read as one run (store_run.c). Descriptors are bounded (I11):
 * segments are opened as they are read, the least recently used closed.
 *
 * Who asks knows what it will need next, so the system reads nothing ahead (DISK_RANDOM): a file's
 * neighbours here are often what other replicas are asked for.
 */
#include "chunk-server/store_internal.h"

#include <stdlib.h>
#include <utlist.h>

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
	disk_close(file->direct);
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

/* --- what was asked in a turn ---- */

/* Where is it? What is nowhere is answered now. */
static bool get_find(struct cs_get *get)
{
	int rc = cs_store_find(get->store, &get->id, &get->place);

	if (rc == 0)
		return true;
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

/* Find them, sort them by place, read them by runs. */
static void gets_start(struct cs_get *asked)
{
	struct cs_get *found = NULL;

	while (asked != NULL) {
		struct cs_get *get = asked;

		asked = get->next;
		if (get_find(get))
			LL_PREPEND(found, get);
	}
	LL_SORT(found, by_place);
	while (found != NULL) {
		struct cs_get *first = found;

		for (uint32_t left = cs_store_run_count(first); left > 0; left--)
			found = found->next;
		cs_store_run(first);
	}
}

static void asked_run(struct loop_task *task)
{
	struct cs_store *store = container_of(task, struct cs_store, read_task);
	struct cs_get *asked = store->asked;

	/* What done() asks for waits for the next turn. */
	store->asked = NULL;
	store->is_read_posted = false;
	gets_start(asked);
	store->tasks--;
}

/* --- what waits for the disk ---- */

bool cs_store_reads_are_full(const struct cs_store *store)
{
	return store->reads >= store->media->queue_depth;
}

void cs_store_read_wait(struct cs_get *first)
{
	struct cs_store *store = first->store;
	struct cs_get *next = first;

	ASSERT(store->reads > 0); /* whose end starts them */
	for (uint32_t count = first->run_count; count > 0; count--) {
		struct cs_get *get = next;

		next = get->next;
		LL_PREPEND(store->waiting, get);
	}
	store->is_sorted = false;
}

void cs_store_read_begins(struct cs_store *store, const struct cs_place *place)
{
	store->reads++;
	store->read_place = *place;
}

static bool is_before(const struct cs_place *a, const struct cs_place *b)
{
	return a->segment < b->segment || (a->segment == b->segment && a->offset < b->offset);
}

/* The next run of what waits: on from where the disk is; behind the last one, from the first. */
static struct cs_get *waiting_take(struct cs_store *store)
{
	struct cs_get *before = NULL, *first, *last;

	if (!store->is_sorted)
		LL_SORT(store->waiting, by_place);
	store->is_sorted = true;
	for (first = store->waiting; first != NULL; before = first, first = first->next) {
		if (!is_before(&first->place, &store->read_place))
			break;
	}
	if (first == NULL) {
		before = NULL;
		first = store->waiting;
	}
	last = first;
	for (uint32_t left = cs_store_run_count(first); left > 1; left--)
		last = last->next;
	if (before != NULL)
		before->next = last->next;
	else
		store->waiting = last->next;
	last->next = NULL;
	return first;
}

void cs_store_read_ended(struct cs_store *store)
{
	ASSERT(store->reads > 0);
	store->reads--;
	/* Found again: compaction may have moved them while they waited. */
	while (store->waiting != NULL && !cs_store_reads_are_full(store))
		gets_start(waiting_take(store));
}

void cs_store_get(struct cs_store *store, struct cs_get *get)
{
	get->store = store;
	get->record = NULL;
	get->is_alone = false;
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

	if (cs_store_index_get(store, id, &found) < 0 ||
	    !cs_place_is_at(&found, place->segment, place->offset))
		return;
	/* Forgetting that it was forgotten means finding the damage again. */
	if (cs_store_change(store, id, &found, NULL, false) < 0)
		return;
	store->counts.damaged++;
}
