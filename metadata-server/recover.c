/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a metadata directory to rows that stand at the journal's end.
 *
 * Keeps I3 and I15. The applied row is committed together with the rows that it speaks of, so
 * wherever a crash stops us, the next start knows where the rows are.
 */
#include "metadata-server/recover.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "fs/base/log.h"
#include "metadata-server/snapshot.h"

#define LOG_MODULE "recover"

#define LOCK_PAUSE_MS	20u
#define COMMIT_RECORDS	16384u	/* replayed in one transaction of the view */

int ms_recover_super(struct disk *disk, struct super *out, struct error *err)
{
	uint8_t bytes[SUPER_BYTES];
	int rc = disk_read_file(disk, SUPER_FILE, bytes, sizeof(bytes));

	if (rc == -E_NOENT)
		return error_say(err, rc,
				 "not formatted: it has no superblock; mkfs.cairn makes one");
	if (rc < 0)
		return error_set(err, rc, "cannot read '%s'", SUPER_FILE);
	rc = rc == (int)sizeof(bytes) ? super_decode(bytes, out) : -E_MALFORMED;
	if (rc < 0)
		return error_set(err, rc, "superblock '%s'", SUPER_FILE);
	if (out->role != SUPER_METADATA)
		return error_say(err, -E_INVAL,
				 "it belongs to a chunk server, not to a metadata server");
	return 0;
}

static int lock_wait(struct disk *disk, uint32_t wait_ms)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };
	int rc = disk_lock(disk);

	for (uint32_t ms = 0; rc == -E_BUSY && ms < wait_ms; ms += LOCK_PAUSE_MS) {
		(void)nanosleep(&pause, NULL);	/* a signal cuts it short: fine */
		rc = disk_lock(disk);
	}
	return rc;
}

static int super_find(struct disk **disks, uint32_t disk_count, struct super *out,
		      struct error *err)
{
	struct error why = { 0 };
	int rc = -E_NOENT;

	for (uint32_t i = 0; i < disk_count; i++) {
		rc = ms_recover_super(disks[i], out, i == 0 ? err : &why);
		if (rc >= 0)
			return 0;
	}
	return err && err->code ? err->code : rc;	/* the first one's: people know it */
}

/* Of another cluster or in use: never done without, it is a mistake. */
static int lock_one(struct disk *disk, uint32_t wait_ms, const struct super *first,
		    struct error *err)
{
	struct error ignored = { 0 };
	struct super super;
	int rc = ms_recover_super(disk, &super, &ignored);

	if (rc >= 0 && memcmp(super.cluster, first->cluster, sizeof(super.cluster)) != 0)
		return error_say(err, -E_WRONG_CLUSTER, "it belongs to another cluster");
	rc = lock_wait(disk, wait_ms);
	if (rc == -E_BUSY)
		return error_say(err, rc, "in use by another process");
	return rc < 0 ? error_set(err, rc, "cannot lock it") : 0;
}

int ms_recover_lock(struct disk **disks, uint32_t disk_count, uint32_t wait_ms, struct super *super,
		    struct error *err)
{
	struct error local = { 0 };
	uint32_t locked = 0;
	int rc;

	if (!err)
		err = &local;
	rc = super_find(disks, disk_count, super, err);
	for (uint32_t i = 0; i < disk_count && rc >= 0; i++) {
		rc = lock_one(disks[i], wait_ms, super, err);
		locked += rc >= 0;
		if (rc == -E_BUSY || rc == -E_WRONG_CLUSTER ||
		    (rc < 0 && locked == 0 && i + 1 == disk_count))
			return i > 0 ? error_wrap(err, "journal directory %u", i + 1) : rc;
		if (rc < 0)
			log_error("journal directory %u: %s", i + 1, err->text);
		rc = 0;
	}
	return rc;
}

/* --- replay ----------------------------------------------------------------------------------- */

struct replay {
	const struct ms_recover_options *options;
	struct ms_recovery *r;
	struct error *err;
	uint32_t uncommitted;
};

static int replay_commit(struct replay *p)
{
	int rc = ms_txn_flush(p->r->txn);

	if (rc >= 0)
		rc = ms_snapshot_set_applied(p->options->rows, p->r->term, p->r->number);
	if (rc >= 0)
		rc = rows_commit(p->options->rows);
	p->uncommitted = 0;
	return rc;
}

static int replay_record(void *arg, const struct journal_header *h, const uint8_t *payload)
{
	struct replay *p = arg;
	struct ms_recovery *r = p->r;
	int rc;

	if (h->number != r->number + 1)
		return error_say(p->err, -E_BAD_MIDDLE, "journal records %" PRIu64 " to %" PRIu64
				 " are missing", r->number + 1, h->number - 1);
	rc = ms_txn_apply(r->txn, payload, h->payload_len);
	if (rc < 0)
		return error_set(p->err, rc, "cannot apply journal record %" PRIu64, h->number);
	r->number = h->number;
	r->term = h->term;
	r->replayed++;
	if (++p->uncommitted < COMMIT_RECORDS)
		return 0;
	rc = replay_commit(p);
	return rc < 0 ? error_set(p->err, rc, "cannot bring the rows up to record %" PRIu64,
				  h->number)
		      : 0;
}

static int replay(const struct ms_recover_options *o, struct ms_recovery *r, struct error *err)
{
	struct replay p = { .options = o, .r = r, .err = err };
	int rc = ms_journal_replay(r->journal, r->number, replay_record, &p, err);

	if (rc < 0)
		return rc;
	rc = replay_commit(&p);
	return rc < 0 ? error_set(err, rc, "cannot bring the rows up to record %" PRIu64, r->number)
		      : 0;
}

/* --- which rows ------------------------------------------------------------------------------- */

static int take_term(void *arg, const struct journal_header *h, const uint8_t *payload)
{
	(void)payload;
	*(uint64_t *)arg = h->term;
	return -E_CANCELED;	/* one is enough */
}

/* Do the rows stand at a place of this journal from which it goes on? */
static bool rows_fit(const struct ms_recover_options *o, struct ms_recovery *r)
{
	struct error ignored = { 0 };
	uint64_t term = 0;
	int rc;

	if (ms_snapshot_applied(o->rows, &r->term, &r->number) < 0)
		return false;
	if (r->number > ms_journal_last(r->journal) || r->number + 1 < ms_journal_first(r->journal))
		return false;
	if (r->number < ms_journal_first(r->journal))
		return r->term <= ms_journal_last_term(r->journal);
	rc = ms_journal_replay(r->journal, r->number - 1, take_term, &term, &ignored);
	return rc == -E_CANCELED && term == r->term;
}

/* The newest good snapshot of one directory, and does the journal go on from it? */
static int rebuild_from(const struct ms_recover_options *o, struct ms_recovery *r,
			struct disk *disk, struct error *err)
{
	struct snapshot_header h;
	int rc = ms_snapshot_load(disk, r->super.cluster, o->rows, &h, err);

	if (rc < 0)
		return rc;
	r->rebuilt = true;
	r->term = h.term;
	r->number = h.number;
	if (h.number > ms_journal_last(r->journal))
		return error_say(err, -E_BAD_MIDDLE,
				 "the journal ends at record %" PRIu64 ", before the "
				 "snapshot at %" PRIu64
				 "; restore the journal by 'mkfs.cairn --recover' or a "
				 "backup",
				 ms_journal_last(r->journal), h.number);
	if (h.number + 1 < ms_journal_first(r->journal))
		return error_say(err, -E_BAD_MIDDLE,
				 "the journal begins at record %" PRIu64 ", behind the "
				 "end of the snapshot at %" PRIu64
				 "; restore 'snapshots' by 'mkfs.cairn "
				 "--recover' or a backup",
				 ms_journal_first(r->journal), h.number);
	return 0;
}

/* Any directory will do. */
static int rebuild(const struct ms_recover_options *o, struct ms_recovery *r, struct error *err)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(r->journal, disks);
	int rc = -E_NOENT;

	for (uint32_t i = 0; i < count; i++) {
		struct error why = { 0 };

		rc = rebuild_from(o, r, disks[i], &why);
		if (rc >= 0 || i == 0)
			*err = why;
		if (rc >= 0 || rc == -E_NOSPC || rc == -E_NOMEM)
			return rc;
		if (count > 1)
			log_warn("journal directory %u: %s", i + 1, why.text);
	}
	return err->code ? err->code : rc;
}

/* --- the directories -------------------------------------------------------------------------- */

/* What of its snapshots is of use with this journal: the newest number, or nothing. */
static bool usable_snapshot(struct ms_recovery *r, struct disk *disk, uint64_t *number)
{
	uint64_t numbers[MS_SNAPSHOTS_KEPT];
	int count = ms_snapshot_list(disk, numbers, MS_SNAPSHOTS_KEPT);

	for (int i = 0; i < count; i++) {
		struct ms_snapshot_info info;

		if (numbers[i] > ms_journal_last(r->journal) ||
		    numbers[i] + 1 < ms_journal_first(r->journal) ||
		    ms_snapshot_info(disk, numbers[i], &info) < 0)
			continue;
		*number = numbers[i];
		return true;
	}
	return false;
}

/* The directory with the newest snapshot; NULL: none has one that is of use. */
static struct disk *choose_snapshots(struct ms_recovery *r)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX], *best = NULL;
	uint32_t count = ms_journal_disks(r->journal, disks);
	uint64_t newest = 0, number;

	for (uint32_t i = 0; i < count; i++) {
		if (!usable_snapshot(r, disks[i], &number) || (best && number <= newest))
			continue;
		best = disks[i];
		newest = number;
	}
	return best;
}

/* The last steps of making a directory whole: it may be believed alone from here on. */
static int complete(struct disk *disk, const struct super *super, uint32_t index)
{
	struct error ignored = { 0 };
	uint8_t bytes[SUPER_BYTES];
	struct super own;
	int rc;

	if (ms_recover_super(disk, &own, &ignored) < 0) {
		own = *super;
		own.directory[15] = (uint8_t)(own.directory[15] + index + 1);
		super_encode(&own, bytes);
		rc = disk_replace_file(disk, SUPER_FILE, bytes, sizeof(bytes));
		if (rc < 0)
			return rc;
		log_info("journal directory %u was empty, and has all now", index + 1);
	}
	rc = disk_unlink(disk, MS_JOURNAL_DROPPED);
	if (rc == -E_NOENT)
		return 0;
	return rc < 0 ? rc : disk_sync_dir(disk, "");
}

static uint32_t index_of(const struct ms_recover_options *o, const struct disk *disk)
{
	uint32_t i = 0;

	while (i + 1 < o->disk_count && o->disks[i] != disk)
		i++;
	return i;
}

/* Every directory that takes the journal gets the snapshots as well. */
static int bring_up(const struct ms_recover_options *o, struct ms_recovery *r, struct error *err)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(r->journal, disks);

	for (uint32_t i = 0; i < count; i++) {
		int rc = r->disk == disks[i] ? 0 :
			 ms_snapshot_bring_up(r->disk, disks[i], ms_journal_last(r->journal));
		if (rc >= 0)
			rc = complete(disks[i], &r->super, index_of(o, disks[i]));
		if (rc < 0) {
			(void)error_set(err, rc, "cannot make a journal directory whole");
			ms_journal_drop(r->journal, disks[i], rc, "cannot be made whole");
		}
	}
	return ms_journal_copies(r->journal) > 0 ? 0 : err->code;
}

static int recover_opened(const struct ms_recover_options *o, struct ms_recovery *r,
			  struct error *err)
{
	int rc;

	r->disk = choose_snapshots(r);
	if (r->disk) {
		rc = bring_up(o, r, err);
		if (rc < 0)
			return rc;
	}
	if (!rows_fit(o, r)) {
		rc = rebuild(o, r, err);
		if (rc < 0)
			return rc;
	}
	rc = ms_txn_create(o->rows, &r->txn);
	if (rc < 0)
		return error_set(err, rc, "cannot begin with the rows");
	rc = replay(o, r, err);
	if (rc < 0)
		return rc;
	if (r->term < ms_journal_last_term(r->journal))
		r->term = ms_journal_last_term(r->journal);
	if (r->disk && !usable_snapshot(r, r->disk, &r->snapshot_number))
		r->snapshot_number = 0;
	log_info("recovered term=%" PRIu64 " number=%" PRIu64 " replayed=%" PRIu64 " rebuilt=%d",
		 r->term, r->number, r->replayed, r->rebuilt);
	return 0;
}

/* A new disk has none. Where that fails, the journal finds out. */
static void make_folders(const struct ms_recover_options *o)
{
	for (uint32_t i = 0; i < o->disk_count; i++)
		if (disk_mkdir(o->disks[i], "journal") < 0 ||
		    disk_mkdir(o->disks[i], MS_SNAPSHOT_DIR) < 0)
			log_error("cannot make the folders of journal directory %u", i + 1);
}

int ms_recover(const struct ms_recover_options *o, struct ms_recovery *out, struct error *err)
{
	struct ms_journal_options journal = {
		.loop = o->loop, .disks = o->disks, .disk_count = o->disk_count,
		.file_bytes_max = o->journal_file_bytes_max,
	};
	struct error local = { 0 };
	int rc;

	if (!err)
		err = &local;
	memset(out, 0, sizeof(*out));
	rc = o->is_locked ? super_find(o->disks, o->disk_count, &out->super, err)
			  : ms_recover_lock(o->disks, o->disk_count, 0, &out->super, err);
	if (rc < 0)
		return rc;
	make_folders(o);
	memset(err, 0, sizeof(*err));	/* what the first directory lacks, another has */
	memcpy(journal.cluster, out->super.cluster, sizeof(journal.cluster));
	rc = ms_journal_open(&journal, &out->journal, err);
	if (rc < 0)
		return rc;
	rc = recover_opened(o, out, err);
	if (rc < 0)
		ms_recover_close(out);
	return rc;
}

void ms_recover_close(struct ms_recovery *r)
{
	ms_txn_destroy(r->txn);
	ms_journal_close(r->journal);
	memset(r, 0, sizeof(*r));
}
