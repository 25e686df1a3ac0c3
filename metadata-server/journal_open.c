/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a journal: which directory is the truth, cutting its torn tail, making the others equal
 * to it.
 *
 * Keeps I4. Nothing is cut or replaced before the winner is known to hold every record that
 * anything in any directory calls durable; otherwise the journal refuses to open and says what is
 * damaged. And what is read is not yet on the disk: a sync that failed leaves clean pages that the
 * disk never got. So bytes behind the last record that is proved durable in a directory are written
 * there again, synced, and read again.
 */
#include "metadata-server/journal_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/log.h"

#define LOG_MODULE "journal"

/* Later term first, then the longer, then the one that reaches further back. */
static bool is_better(const struct ms_journal_scan *a, const struct ms_journal_scan *b)
{
	if (a->last_term != b->last_term)
		return a->last_term > b->last_term;
	if (a->last != b->last)
		return a->last > b->last;
	return a->part_count > 0 && (b->part_count == 0 || a->parts[0].first < b->parts[0].first);
}

static int refuse_if_lost(const struct ms_journal_scan *scans, uint32_t count, uint32_t winner,
			  struct error *err)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct ms_journal_scan *s = &scans[i];
		char name[JOURNAL_NAME_BYTES];

		if (s->proved <= scans[winner].last)
			continue;
		if (s->bad_first == 0)
			return error_say(
				err, -E_BAD_MIDDLE,
				"journal directory %u is damaged: records from %" PRIu64
				" to %" PRIu64 " are missing; keep what is there, and restore "
				"it by 'mkfs.cairn --recover' or a backup; 'fsck.cairn --repair' "
				"keeps what can still be read",
				i + 1, s->last + 1, s->proved);
		return error_say(
			err, -E_BAD_MIDDLE,
			"'%s' of journal directory %u is damaged at byte %" PRIu64
			", but records up to %" PRIu64 " were durable; keep what is there, and "
			"restore it by 'mkfs.cairn --recover' or a backup; 'fsck.cairn --repair' "
			"keeps what can still be read",
			ms_journal_name(s->bad_first, name), i + 1, s->bad_offset, s->proved);
	}
	return 0;
}

/* Remove journal files that the parts do not name. */
static int remove_strangers(struct ms_journal *j, struct disk *disk)
{
	char name[JOURNAL_NAME_BYTES];
	uint64_t *firsts;
	uint32_t count, part = 0;
	int rc = ms_journal_scan_list(disk, &firsts, &count);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < count && rc >= 0; i++) {
		while (part < j->part_count && j->parts[part].first < firsts[i])
			part++;
		if (part == j->part_count || j->parts[part].first != firsts[i])
			rc = disk_unlink(disk, ms_journal_name(firsts[i], name));
	}
	free(firsts);
	return rc;
}

/* Write what is there again, from `at` on. */
static int write_again(struct disk_file *file, uint64_t at, uint64_t bytes, uint8_t *buffer)
{
	while (at < bytes) {
		uint32_t len = (uint32_t)MIN_OF(bytes - at, JOURNAL_READ_BYTES);
		int rc = disk_read(file, buffer, len, at);

		if (rc >= 0)
			rc = rc < (int)len ? -E_IO : disk_write(file, buffer, len, at);
		if (rc < 0)
			return rc;
		at += len;
	}
	return 0;
}

/*
 * Cut the winner's newest file behind its last good record; what is not proved durable is written
 * again.
 */
static int cut_part(struct disk *disk, const struct ms_journal_part *part, uint64_t proved,
		    uint8_t *buffer)
{
	char name[JOURNAL_NAME_BYTES];
	struct disk_file *file;
	uint64_t end;
	int rc = ms_journal_scan_proved(disk, part->first, proved, &end);

	if (rc < 0)
		return rc;
	rc = disk_open(disk, ms_journal_name(part->first, name), DISK_WRITE, &file);
	if (rc < 0)
		return rc;
	rc = disk_truncate(file, part->bytes);
	if (rc >= 0)
		rc = write_again(file, end, part->bytes, buffer);
	if (rc >= 0)
		rc = disk_sync(file);
	disk_close(file);
	return rc;
}

static int cut(struct ms_journal *j, struct disk *disk, uint64_t proved, uint8_t *buffer)
{
	int rc = remove_strangers(j, disk);

	if (rc >= 0 && j->part_count > 0)
		rc = cut_part(disk, &j->parts[j->part_count - 1], proved, buffer);
	return rc;
}

/*
 * Make the bytes of `to` equal to those of `from`. What equals them already is believed up to
 * `proved_end`.
 */
static int copy_bytes(struct disk_file *from, struct disk_file *to, uint64_t bytes,
		      uint64_t proved_end, uint8_t *buffer)
{
	uint8_t *theirs = buffer + JOURNAL_READ_BYTES;

	for (uint64_t at = 0; at < bytes;) {
		uint32_t len = (uint32_t)MIN_OF(bytes - at, JOURNAL_READ_BYTES);
		int got = disk_read(from, buffer, len, at);
		if (got < (int)len)
			return got < 0 ? got : -E_IO;
		got = at + len <= proved_end ? disk_read(to, theirs, len, at) : 0;
		if (got < 0)
			return got;
		if (got < (int)len || memcmp(buffer, theirs, len) != 0) {
			int rc = disk_write(to, buffer, len, at);
			if (rc < 0)
				return rc;
		}
		at += len;
	}
	return disk_truncate(to, bytes);
}

static int copy_part(struct disk *from, struct disk *to, const struct ms_journal_part *part,
		     uint64_t proved, uint8_t *buffer)
{
	char name[JOURNAL_NAME_BYTES];
	struct disk_file *in, *out;
	uint64_t proved_end;
	int rc = ms_journal_scan_proved(to, part->first, proved, &proved_end);

	if (rc >= 0)
		rc = disk_open(from, ms_journal_name(part->first, name), DISK_READ, &in);
	if (rc < 0)
		return rc;
	rc = disk_open(to, name, DISK_WRITE | DISK_CREATE, &out);
	if (rc >= 0) {
		rc = copy_bytes(in, out, part->bytes, proved_end, buffer);
		if (rc >= 0)
			rc = disk_sync(out);
		disk_close(out);
	}
	disk_close(in);
	return rc;
}

static int make_equal(struct ms_journal *j, struct disk *disk, uint64_t proved, uint8_t *buffer)
{
	int rc = 0;

	for (uint32_t i = 0; i < j->part_count && rc >= 0; i++)
		rc = copy_part(j->source, disk, &j->parts[i], proved, buffer);
	return rc < 0 ? rc : remove_strangers(j, disk);
}

/* After its sync the newest file still ends with the newest record. */
static int check_tail(struct ms_journal *j, struct disk *disk)
{
	uint64_t end = 0;
	int rc = 0;

	if (j->part_count > 0) {
		rc = ms_journal_scan_proved(disk, j->parts[j->part_count - 1].first, j->last, &end);
		if (rc >= 0 && end != j->parts[j->part_count - 1].bytes)
			rc = -E_CORRUPT;
	}
	return rc < 0 ? rc : disk_sync_dir(disk, JOURNAL_DIR);
}

int ms_journal_tail_open(struct ms_journal *j, struct ms_journal_copy *copy)
{
	char name[JOURNAL_NAME_BYTES];

	if (j->part_count == 0)
		return 0;
	return disk_open(copy->disk, ms_journal_name(j->parts[j->part_count - 1].first, name),
			 DISK_WRITE, &copy->tail);
}

static int repair_one(struct ms_journal *j, struct ms_journal_copy *copy, uint64_t proved,
		      uint8_t *buffer)
{
	int rc = copy->disk == j->source ? cut(j, copy->disk, proved, buffer)
					 : make_equal(j, copy->disk, proved, buffer);

	if (rc >= 0)
		rc = check_tail(j, copy->disk);
	return rc < 0 ? rc : ms_journal_tail_open(j, copy);
}

/*
 * Bring every directory to the winner's content; one that refuses is dropped, also the winner if
 * another has all of it by then.
 */
static int repair(struct ms_journal *j, const struct ms_journal_scan *scans, struct error *err)
{
	uint8_t *buffer = malloc(2 * JOURNAL_READ_BYTES);
	int rc;

	if (!buffer)
		return error_set(err, -E_NOMEM, "cannot open the journal");
	for (uint32_t i = 0; i < j->copy_count; i++) {
		if (!j->copies[i].is_good)
			continue;
		rc = repair_one(j, &j->copies[i], scans[i].proved, buffer);
		if (rc < 0) {
			(void)error_set(err, rc, "journal directory %u cannot be made ready",
					i + 1);
			ms_journal_copy_drop(j, &j->copies[i], rc, "cannot be made ready");
		}
	}
	free(buffer);
	if (j->is_failed)
		return err->code;
	for (uint32_t i = j->copy_count; i-- > 0;)
		if (j->copies[i].is_good)
			j->source = j->copies[i].disk;
	return 0;
}

/* The one to believe; -E_STALE: all that can be read were out of service when others went on. */
static int find_winner(struct ms_journal *j, const struct ms_journal_scan *scans, uint32_t *winner,
		       struct error *err)
{
	uint32_t marked = 0;

	*winner = j->copy_count;
	for (uint32_t i = 0; i < j->copy_count; i++) {
		if (!j->copies[i].is_good)
			continue;
		if (j->copies[i].is_marked)
			marked = i + 1;
		else if (*winner == j->copy_count || is_better(&scans[i], &scans[*winner]))
			*winner = i;
	}
	if (*winner < j->copy_count)
		return 0;
	return error_say(
		err, -E_BAD_MIDDLE,
		"journal directory %u was out of service when the server ran "
		"last: bring back the others of journal.dirs, or see 'mkfs.cairn --recover'; or "
		"remove its file '" MS_JOURNAL_DROPPED "' to do without what it lacks",
		marked);
}

static int choose(struct ms_journal *j, struct ms_journal_scan *scans, struct error *err)
{
	uint32_t winner;
	int rc = find_winner(j, scans, &winner, err);

	if (rc >= 0)
		rc = refuse_if_lost(scans, j->copy_count, winner, err);
	if (rc < 0)
		return rc;
	j->source = j->copies[winner].disk;
	j->parts = scans[winner].parts;
	j->part_count = scans[winner].part_count;
	j->part_capacity = j->part_count;
	scans[winner].parts = NULL;
	j->last = j->durable = scans[winner].last;
	j->last_term = scans[winner].last_term;
	for (uint32_t i = 0; i < j->part_count; i++)
		j->bytes += j->durable_bytes = j->parts[i].bytes;
	if (scans[winner].bytes_after > 0 && !j->options.read_only)
		log_warn("cutting a torn tail after=%" PRIu64 " bytes=%" PRIu64, j->last,
			 scans[winner].bytes_after);
	return j->options.read_only ? 0 : repair(j, scans, err);
}

static int look_for_mark(struct ms_journal_copy *copy)
{
	struct disk_file *file;
	int rc;

	if (disk_open(copy->disk, JOURNAL_RESERVE, DISK_READ, &file) >= 0) {
		disk_close(file);
		/* of the last term: it may be needed to begin this one */
		copy->has_reserve = true;
	}
	rc = disk_open(copy->disk, MS_JOURNAL_DROPPED, DISK_READ, &file);

	if (rc >= 0) {
		disk_close(file);
		copy->is_marked = true;
	}
	return rc == -E_NOENT ? 0 : rc;
}

/* One that cannot be read is done without, if there are others. */
static int scan_one(struct ms_journal *j, uint32_t i, struct ms_journal_scan *out,
		    struct error *err)
{
	struct ms_journal_copy *copy = &j->copies[i];
	int rc = look_for_mark(copy);

	if (rc >= 0)
		rc = ms_journal_scan(copy->disk, j->options.cluster, out, err);
	else
		(void)error_set(err, rc, "cannot look for '" MS_JOURNAL_DROPPED "'");
	if (rc >= 0)
		return 0;
	rc = error_wrap(err, "journal directory %u", i + 1);
	if (rc == -E_WRONG_CLUSTER || rc == -E_NOMEM || j->options.read_only)
		return rc;
	ms_journal_copy_drop(j, copy, rc, "cannot be read");
	if (j->is_failed)
		return rc;	/* it was the last: who started the server is told */
	log_error("%s", err->text);
	return 0;
}

static int open_scanned(struct ms_journal *j, struct error *err)
{
	struct ms_journal_scan scans[MS_JOURNAL_DIRS_MAX] = { { 0 } };
	int rc = 0;

	for (uint32_t i = 0; i < j->copy_count && rc >= 0; i++)
		rc = scan_one(j, i, &scans[i], err);
	if (rc >= 0)
		rc = choose(j, scans, err);
	for (uint32_t i = 0; i < j->copy_count; i++)
		ms_journal_scan_finish(&scans[i]);
	return rc;
}

int ms_journal_open(const struct ms_journal_options *options, struct ms_journal **out,
		    struct error *err)
{
	struct error ignored = { 0 };
	struct ms_journal *j;
	int rc;

	ASSERT(options->disk_count > 0);
	if (options->disk_count > MS_JOURNAL_DIRS_MAX)
		return error_say(err, -E_INVAL, "more than %u journal directories",
				 MS_JOURNAL_DIRS_MAX);
	j = calloc(1, sizeof(*j));
	if (!j)
		return error_set(err, -E_NOMEM, "cannot open the journal");
	j->options = *options;
	j->copy_count = options->disk_count;
	for (uint32_t i = 0; i < j->copy_count; i++)
		j->copies[i] = (struct ms_journal_copy){ .journal = j, .disk = options->disks[i],
							 .index = i, .is_good = true };
	rc = open_scanned(j, err ? err : &ignored);
	if (rc < 0) {
		ms_journal_close(j);
		return rc;
	}
	j->is_open = true;
	*out = j;
	return 0;
}

/* --- replay ----------------------------------------------------------------------------------- */

static int replay_part(struct ms_journal *j, uint32_t index, uint64_t after,
		       ms_journal_replay_fn fn, void *arg)
{
	struct ms_journal_reader r;
	struct journal_header h;
	const uint8_t *payload;
	int rc = ms_journal_reader_init(&r, j->source, j->parts[index].first);

	if (rc < 0)
		return rc;
	r.offset = JOURNAL_FILE_HEADER_BYTES;
	r.end = MIN_OF(r.end, j->parts[index].bytes);
	while ((rc = ms_journal_reader_next(&r, &h, &payload)) > 0) {
		if (h.number <= after)
			continue;
		rc = fn(arg, &h, payload);
		if (rc < 0)
			break;
	}
	ms_journal_reader_finish(&r);
	return rc;
}

int ms_journal_replay(struct ms_journal *j, uint64_t after, ms_journal_replay_fn fn, void *arg,
		      struct error *err)
{
	char name[JOURNAL_NAME_BYTES];

	for (uint32_t i = 0; i < j->part_count; i++) {
		int rc;
		if (i + 1 < j->part_count && j->parts[i + 1].first <= after + 1)
			continue;
		rc = replay_part(j, i, after, fn, arg);
		if (rc < 0)
			return err && err->code ? rc : error_set(err, rc, "cannot replay '%s'",
					ms_journal_name(j->parts[i].first, name));
	}
	return 0;
}
