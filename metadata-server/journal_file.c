/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal in files: appending, group commit, the next file, trimming.
 *
 * Keeps I4: `durable` rises only when the sync that covers it has returned on every good directory;
 * a directory whose write or sync failed is never used again before the next start. A file is
 * synced before the next is begun (journal_scan.c relies on it): the next one is begun only where a
 * sync ended, when none is running.
 */
#include "metadata-server/journal_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "fs/base/fault.h"
#include "fs/base/metrics.h"
#include "fs/base/log.h"

#define LOG_MODULE "journal"

#define ROTATE_RETRY_BYTES KiB(64)

static void journal_free(struct ms_journal *j)
{
	for (uint32_t i = 0; i < j->copy_count; i++)
		disk_close(j->copies[i].tail);
	free(j->parts);
	free(j);
}

/* --- health ----------------------------------------------------------------------------------- */

uint32_t ms_journal_copies(const struct ms_journal *j)
{
	uint32_t good = 0;

	for (uint32_t i = 0; i < j->copy_count; i++)
		good += j->copies[i].is_good;
	return good;
}

/*
 * The others go on without it. Best effort: a dead disk takes no mark, and needs none as long as it
 * is dead.
 */
static void mark_run(struct loop_work *work)
{
	static const char text[] =
		"This journal directory was out of service while the others went on.\n";
	struct ms_journal_copy *copy = container_of(work, struct ms_journal_copy, mark);
	int rc = disk_replace_file(copy->disk, MS_JOURNAL_DROPPED, text, sizeof(text) - 1);

	if (rc < 0)
		log_debug("cannot mark journal directory %u: %s", copy->index + 1, error_text(rc));
}

static void mark_done(struct loop_work *work)
{
	struct ms_journal *j = container_of(work, struct ms_journal_copy, mark)->journal;

	j->marks_running--;
	if (j->is_closed && j->syncs_running == 0 && j->marks_running == 0)
		journal_free(j);
}

static void mark_begin(struct ms_journal_copy *copy)
{
	copy->is_marked = true;
	if (!copy->journal->is_open) {
		mark_run(&copy->mark);
		return;
	}
	copy->journal->marks_running++;
	copy->mark.is_owned = true;
	copy->mark.run = mark_run;
	copy->mark.done = mark_done;
	loop_work(copy->journal->options.loop, &copy->mark);
}

void ms_journal_copy_drop(struct ms_journal *j, struct ms_journal_copy *copy, int rc,
			  const char *what)
{
	if (!copy->is_good)
		return;
	METRIC_INC(journal_failures);
	copy->is_good = false;	/* its file is closed at the end: a worker may be at it */
	log_error("journal directory %u is out of service: it %s: %s", copy->index + 1, what,
		  error_text(rc));
	if (ms_journal_copies(j) == 0)
		j->is_failed = true;
	else if (!j->options.read_only)
		mark_begin(copy);
}

static void tell(struct ms_journal *j)
{
	if (j->on_durable)
		j->on_durable(j->on_durable_arg, j->is_failed ? -E_IO : 0);
}

/* --- files ------------------------------------------------------------------------------------ */

static int part_add(struct ms_journal *j, uint64_t first, uint64_t term)
{
	if (j->part_count == j->part_capacity) {
		uint32_t capacity = j->part_capacity ? j->part_capacity * 2 : 16;
		struct ms_journal_part *parts = realloc(j->parts, capacity * sizeof(*parts));
		if (!parts)
			return -E_NOMEM;
		j->parts = parts;
		j->part_capacity = capacity;
	}
	j->parts[j->part_count++] =
		(struct ms_journal_part){first, JOURNAL_FILE_HEADER_BYTES, term};
	j->bytes += JOURNAL_FILE_HEADER_BYTES;
	j->durable_bytes = JOURNAL_FILE_HEADER_BYTES;
	return 0;
}

/* Give the room that was set aside to whoever needs it; false: there is none. */
static bool reserve_take(struct ms_journal_copy *copy)
{
	if (!copy->has_reserve)
		return false;
	copy->has_reserve = false;
	log_warn("journal directory %u is full: taking the room that was set aside",
		 copy->index + 1);
	return disk_unlink(copy->disk, JOURNAL_RESERVE) >= 0;
}

static int file_begin(struct ms_journal_copy *copy, const char *name, const uint8_t header[])
{
	int rc = disk_replace_file(copy->disk, name, header, JOURNAL_FILE_HEADER_BYTES);

	return rc < 0 ? rc : disk_open(copy->disk, name, DISK_WRITE, &copy->next);
}

/* Durable at once: the files before it may be trimmed as soon as it is there. */
static int copy_begin(struct ms_journal_copy *copy, const char *name, const uint8_t header[])
{
	int rc = file_begin(copy, name, header);

	if (rc == -E_NOSPC && reserve_take(copy))
		rc = file_begin(copy, name, header);
	return rc;
}

/* All good directories have the file, or none: else it is taken back. */
static void copies_switch(struct ms_journal *j, const char *name, bool is_begun)
{
	for (uint32_t i = 0; i < j->copy_count; i++) {
		struct ms_journal_copy *copy = &j->copies[i];

		if (!copy->next)
			continue;
		if (is_begun) {
			disk_close(copy->tail);
			copy->tail = copy->next;
		} else {
			disk_close(copy->next);
			if (disk_unlink(copy->disk, name) < 0)
				log_warn("cannot remove '%s'", name);	/* the next start does */
		}
		copy->next = NULL;
	}
}

/*
 * Begin the file of record `first` in every good directory. No sync is running. -E_NOSPC: in none,
 * and the newest one goes on.
 */
static int part_begin(struct ms_journal *j, uint64_t first, uint64_t term)
{
	struct journal_file_header h = { .first_number = first, .term = term };
	uint8_t header[JOURNAL_FILE_HEADER_BYTES];
	char name[JOURNAL_NAME_BYTES];
	bool is_full = false;
	int rc;

	for (size_t i = 0; i < sizeof(h.cluster); i++)
		h.cluster[i] = j->options.cluster[i];
	journal_file_header_encode(&h, header);
	ms_journal_name(first, name);
	for (uint32_t i = 0; i < j->copy_count && !is_full; i++) {
		if (!j->copies[i].is_good)
			continue;
		rc = copy_begin(&j->copies[i], name, header);
		is_full = rc == -E_NOSPC;
		if (rc < 0 && !is_full)
			ms_journal_copy_drop(j, &j->copies[i], rc, "cannot begin a file");
	}
	rc = is_full ? -E_NOSPC : j->is_failed ? -E_IO : part_add(j, first, term);
	copies_switch(j, name, rc >= 0);
	return rc;
}

/* --- appending -------------------------------------------------------------------------------- */

static void sync_due(struct loop_timer *timer)
{
	ms_journal_sync(container_of(timer, struct ms_journal, timer));
}

/* What was written waits for a sync at most so long. */
static void timer_arm(struct ms_journal *j)
{
	if (j->timer.is_active)
		return;
	j->timer.fn = sync_due;
	loop_timer_start(j->options.loop, &j->timer, JOURNAL_SYNC_MS_MAX);
}

static int first_part(struct ms_journal *j, const uint8_t *records, uint32_t len)
{
	struct journal_header h;
	const uint8_t *payload;
	int rc = journal_record_decode(records, len, &h, &payload);

	ASSERT(rc > 0);
	ASSERT(h.number > j->last);
	return part_begin(j, h.number, h.term);
}

static int copy_append(struct ms_journal_copy *copy, const uint8_t *records, uint32_t len,
		       uint64_t at)
{
	int rc = FAULT(journal_append) ? -E_IO : disk_write(copy->tail, records, len, at);

	/* a part may have been written: the same again */
	if (rc == -E_NOSPC && reserve_take(copy))
		rc = disk_write(copy->tail, records, len, at);
	return rc;
}

int ms_journal_append(struct ms_journal *j, const uint8_t *records, uint32_t len,
		      uint64_t last_number, uint64_t last_term)
{
	struct ms_journal_part *part;
	int rc = 0;

	ASSERT(!j->options.read_only && len > 0);
	ASSERT(last_number > j->last && last_term >= j->last_term);
	if (j->is_failed)
		return -E_IO;
	if (j->part_count == 0)
		rc = first_part(j, records, len);
	if (rc < 0)
		return rc;
	part = &j->parts[j->part_count - 1];
	for (uint32_t i = 0; i < j->copy_count; i++) {
		struct ms_journal_copy *copy = &j->copies[i];
		if (!copy->is_good)
			continue;
		rc = copy_append(copy, records, len, part->bytes);
		if (rc < 0)
			ms_journal_copy_drop(j, copy, rc, "cannot be written to");
	}
	if (j->is_failed) {
		tell(j);
		return -E_IO;
	}
	METRIC_ADD(journal_records, last_number - j->last);
	METRIC_ADD(journal_bytes, len);
	part->bytes += len;
	j->bytes += len;
	j->last = last_number;
	j->last_term = last_term;
	if (j->syncs_running == 0)
		timer_arm(j);
	return 0;
}

/* --- group commit ----------------------------------------------------------------------------- */

static int copy_sync(struct ms_journal_copy *copy)
{
	return FAULT(journal_sync) ? -E_IO : disk_sync(copy->tail);
}

static void sync_run(struct loop_work *work)
{
	struct ms_journal_copy *copy = container_of(work, struct ms_journal_copy, sync);

	copy->sync_rc = copy_sync(copy);
}

static void sync_took(struct ms_journal_copy *copy, int rc)
{
	if (rc < 0)
		ms_journal_copy_drop(copy->journal, copy, rc, "cannot be synced");
}

int ms_journal_sync_now(struct ms_journal *j)
{
	for (uint32_t i = 0; i < j->copy_count && j->durable < j->last; i++)
		if (j->copies[i].is_good)
			sync_took(&j->copies[i], copy_sync(&j->copies[i]));
	if (j->is_failed)
		return -E_IO;
	j->durable = j->last;
	j->durable_bytes = j->part_count > 0 ? j->parts[j->part_count - 1].bytes : 0;
	return 0;
}

/*
 * The newest file is long enough: begin the next. Records that were written while the last sync ran
 * are synced here and now; that holds the loop up once a file.
 */
static void rotate(struct ms_journal *j)
{
	int rc;

	j->rotate_wanted = false;
	if (ms_journal_sync_now(j) < 0)
		return;
	rc = part_begin(j, j->last + 1, j->last_term);
	j->rotate_after = 0;
	if (rc == -E_NOMEM || rc == -E_NOSPC) {
		log_warn("cannot begin a new file: %s", error_text(rc));
		j->rotate_after = j->parts[j->part_count - 1].bytes + ROTATE_RETRY_BYTES;
	}
}

static bool should_rotate(const struct ms_journal *j)
{
	const struct ms_journal_part *tail = &j->parts[j->part_count - 1];

	return (j->rotate_wanted || tail->bytes >= j->options.file_bytes_max) &&
	       j->last >= tail->first && tail->bytes >= j->rotate_after &&
	       j->part_count < JOURNAL_PARTS_MAX;
}

static void sync_done(struct loop_work *work)
{
	struct ms_journal_copy *copy = container_of(work, struct ms_journal_copy, sync);
	struct ms_journal *j = copy->journal;
	bool again;

	ASSERT(j->syncs_running > 0);
	j->syncs_running--;
	if (j->is_closed) {
		if (j->syncs_running == 0 && j->marks_running == 0)
			journal_free(j);
		return;
	}
	sync_took(copy, copy->sync_rc);
	if (j->syncs_running > 0)
		return;
	METRIC_INC(journal_syncs);
	if (!j->is_failed) {
		if (j->sync_target > j->durable) {
			j->durable = j->sync_target;
			j->durable_bytes = j->sync_target_bytes;
		}
		if (should_rotate(j))
			rotate(j);
	}
	again = j->sync_wanted;
	j->sync_wanted = false;
	if (again)
		ms_journal_sync(j);
	else if (j->durable < j->last && !j->is_failed)
		timer_arm(j);
	tell(j);
}

void ms_journal_sync(struct ms_journal *j)
{
	if (j->is_failed || j->durable == j->last)
		return;
	if (j->syncs_running > 0) {
		j->sync_wanted = true;
		return;
	}
	loop_timer_stop(j->options.loop, &j->timer);
	j->sync_target = j->last;
	j->sync_target_bytes = j->parts[j->part_count - 1].bytes;
	for (uint32_t i = 0; i < j->copy_count; i++) {
		struct ms_journal_copy *copy = &j->copies[i];
		if (!copy->is_good)
			continue;
		j->syncs_running++;
		copy->sync.is_owned = true;
		copy->sync.run = sync_run;
		copy->sync.done = sync_done;
		loop_work(j->options.loop, &copy->sync);
	}
}

void ms_journal_watch(struct ms_journal *j, void (*on_durable)(void *arg, int rc), void *arg)
{
	j->on_durable = on_durable;
	j->on_durable_arg = arg;
}

/* --- the reserve ------------------------------------------------------------------------------ */

static void reserve_one(struct ms_journal_copy *copy)
{
	struct disk_file *file;
	struct disk_space space;
	uint64_t bytes;
	int rc;

	if (copy->has_reserve || !copy->is_good || disk_space(copy->disk, &space) < 0)
		return;
	bytes = MIN_OF(JOURNAL_RESERVE_BYTES, space.bytes_total / JOURNAL_RESERVE_PART);
	if (space.bytes_free / 4 < bytes)
		return;
	rc = disk_open(copy->disk, JOURNAL_RESERVE, DISK_WRITE | DISK_CREATE, &file);
	if (rc < 0)
		return;
	rc = disk_allocate(file, bytes);
	disk_close(file);
	if (rc >= 0)
		copy->has_reserve = true;
	else if (disk_unlink(copy->disk, JOURNAL_RESERVE) < 0)
		log_debug("cannot remove '%s'", JOURNAL_RESERVE);
}

void ms_journal_reserve(struct ms_journal *j)
{
	for (uint32_t i = 0; i < j->copy_count && !j->is_failed; i++)
		reserve_one(&j->copies[i]);
}

bool ms_journal_has_reserve(const struct ms_journal *j, const struct disk *disk)
{
	for (uint32_t i = 0; i < j->copy_count; i++)
		if (j->copies[i].disk == disk)
			return j->copies[i].has_reserve;
	return false;
}

void ms_journal_reserve_take(struct ms_journal *j)
{
	for (uint32_t i = 0; i < j->copy_count; i++)
		if (j->copies[i].is_good)
			(void)reserve_take(&j->copies[i]);
}

/* --- the rest --------------------------------------------------------------------------------- */

void ms_journal_close(struct ms_journal *j)
{
	if (!j)
		return;
	j->on_durable = NULL;
	if (!j->options.read_only && j->options.loop)
		loop_timer_stop(j->options.loop, &j->timer);
	/* what is marked now is marked at once: nobody waits for works any more */
	j->is_open = false;
	if (!j->is_failed && ms_journal_sync_now(j) < 0)
		log_error("the last records may be lost after=%" PRIu64, j->durable);
	j->is_closed = true;
	if (j->syncs_running == 0 && j->marks_running == 0)
		journal_free(j);
}

uint64_t ms_journal_last(const struct ms_journal *j)
{
	return j->last;
}

uint64_t ms_journal_last_term(const struct ms_journal *j)
{
	return j->last_term;
}

uint64_t ms_journal_first(const struct ms_journal *j)
{
	return j->part_count > 0 ? j->parts[0].first : j->last + 1;
}

uint32_t ms_journal_parts(const struct ms_journal *j)
{
	return j->part_count;
}

bool ms_journal_part(const struct ms_journal *j, uint64_t number, struct ms_journal_part_view *out)
{
	uint32_t i = j->part_count;

	while (i > 0 && j->parts[i - 1].first > number)
		i--;
	if (i == 0)
		return false;
	*out = (struct ms_journal_part_view){
		.first = j->parts[i - 1].first, .term = j->parts[i - 1].term,
		.bytes = i == j->part_count ? j->durable_bytes : j->parts[i - 1].bytes,
		.next = i == j->part_count ? 0 : j->parts[i].first,
	};
	return true;
}

uint32_t ms_journal_disks(const struct ms_journal *j, struct disk *out[MS_JOURNAL_DIRS_MAX])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < j->copy_count; i++)
		if (j->copies[i].is_good)
			out[count++] = j->copies[i].disk;
	return count;
}

void ms_journal_drop(struct ms_journal *j, const struct disk *disk, int rc, const char *what)
{
	for (uint32_t i = 0; i < j->copy_count; i++)
		if (j->copies[i].disk == disk)
			ms_journal_copy_drop(j, &j->copies[i], rc, what);
	if (j->is_failed)
		tell(j);
}

uint64_t ms_journal_bytes(const struct ms_journal *j)
{
	return j->bytes;
}

uint64_t ms_journal_durable(const struct ms_journal *j)
{
	return j->durable;
}

void ms_journal_trim(struct ms_journal *j, uint64_t number)
{
	char name[JOURNAL_NAME_BYTES];
	uint32_t gone = 0;

	while (gone + 1 < j->part_count && j->parts[gone + 1].first <= number + 1) {
		ms_journal_name(j->parts[gone].first, name);
		for (uint32_t i = 0; i < j->copy_count; i++) {
			int rc = j->copies[i].is_good ? disk_unlink(j->copies[i].disk, name) : 0;
			if (rc < 0 && rc != -E_NOENT)
				log_warn("cannot remove '%s': %s", name, error_text(rc));
		}
		j->bytes -= j->parts[gone].bytes;
		gone++;
	}
	j->part_count -= gone;
	for (uint32_t i = 0; i < j->part_count; i++)
		j->parts[i] = j->parts[i + gone];
}

int ms_journal_begin_term(struct ms_journal *j, uint64_t term)
{
	int rc;

	ASSERT(j->syncs_running == 0 && j->durable == j->last);
	if (j->part_count == 0 || j->part_count == JOURNAL_PARTS_MAX)
		return 0;	/* the first record begins a file; or the newest goes on */
	rc = part_begin(j, j->last + 1, term);
	if (rc == -E_NOSPC) {
		log_warn("no room for a file of this term: going on in the newest");
		return 0;
	}
	/* Was the newest one empty? Then it is the one that was begun again. */
	if (rc >= 0 && j->parts[j->part_count - 2].first == j->last + 1) {
		j->bytes -= j->parts[j->part_count - 2].bytes;
		j->parts[j->part_count - 2] = j->parts[j->part_count - 1];
		j->part_count--;
	}
	return rc;
}

void ms_journal_rotate(struct ms_journal *j)
{
	j->rotate_wanted = true;
}
