/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room on the disks of a metadata server, and the rows, which are brought up to the journal from
 * time to time. Before room is used up only what frees is admitted (is_nearly_full).
 */
#include "metadata-server/serve_internal.h"

#include "fs/base/log.h"
#include "metadata-server/snapshot.h"

#define LOG_MODULE "serve"

/* --- space ------------------------------------------------------------------------------------ */

/* 5 % of the disk, within reason, stay free for what frees. */
static uint64_t disk_reserve_bytes(const struct disk_space *space)
{
	return MAX_OF(MIN_OF(space->bytes_total / 20, GiB(1)), SERVE_RESERVE_BYTES_MIN);
}

static bool is_disk_nearly_full(struct ms_server *s)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(s->journal, disks);
	struct disk_space space;
	bool is_nearly = false, is_full = false;

	for (uint32_t i = 0; i < count; i++) {
		if (disk_space(disks[i], &space) < 0)
			continue;
		is_nearly |= space.bytes_free < disk_reserve_bytes(&space);
		is_full |= space.bytes_free < SERVE_LAST_BYTES &&
			   !ms_journal_has_reserve(s->journal, disks[i]);
	}
	s->is_disk_full = is_full;
	return is_nearly;
}

uint64_t ms_serve_room_bytes(struct ms_server *s)
{
	struct disk *disks[MS_JOURNAL_DIRS_MAX];
	uint32_t count = ms_journal_disks(s->journal, disks);
	uint64_t room = UINT64_MAX;

	for (uint32_t i = 0; i < count; i++) {
		struct disk_space space;
		uint64_t reserve;

		if (disk_space(disks[i], &space) < 0)
			continue;	/* the write itself will tell */
		reserve = disk_reserve_bytes(&space) / 2;
		room = MIN_OF(room, space.bytes_free > reserve ? space.bytes_free - reserve : 0);
	}
	return room;
}

static bool is_full(struct ms_server *s)
{
	uint64_t rows_max = s->options.rows_bytes_max;

	/* The disk is always looked at: it tells two things. */
	return is_disk_nearly_full(s) || s->is_rows_full ||
	       (rows_max > 0 && rows_bytes(s->options.rows) > rows_max / 20 * 19);
}

/* Before the reserve is used up: growth is measured, not only time. */
void ms_serve_space_check(struct ms_server *s)
{
	bool full = is_full(s);

	if (!full)
		ms_journal_reserve(s->journal);
	s->unmeasured_bytes = 0;
	if (full != s->is_nearly_full)
		log_warn(full ? "metadata space is nearly used up: only what frees is admitted"
				 : "metadata space is free again");
	s->is_nearly_full = full;
}

/* --- the rows --------------------------------------------------------------------------------- */

/*
 * A full disk is no end: the overlay has all, and only what frees is admitted until there is room.
 * What the overlay can grow to is bounded by the room of the journal.
 */
static int rows_refused(struct ms_server *s, int rc)
{
	rows_abort(s->options.rows);
	if (rc != -E_NOSPC) {
		ms_serve_fail(s, rc, "cannot keep the rows");
		return rc;
	}
	if (!s->is_nearly_full)
		log_warn("no room for the rows: only what frees is admitted");
	s->is_nearly_full = s->is_rows_full = true;
	ms_journal_reserve_take(s->journal);
	loop_timer_start(s->options.loop, &s->rows_timer, SERVE_ROWS_MS);
	return rc;
}

/*
 * The journal is the truth, and whoever reads looks into the overlay first. So many batches share
 * one transaction of the rows; what a crash takes from the overlay, the next start replays.
 */
int ms_serve_rows_keep(struct ms_server *s)
{
	int rc;

	loop_timer_stop(s->options.loop, &s->rows_timer);
	if (s->unkept_bytes == 0 || s->is_failed)
		return s->is_failed ? -E_IO : 0;
	rc = ms_txn_write(s->txn);
	if (rc >= 0)
		rc = ms_snapshot_set_applied(s->options.rows, s->term, s->number);
	if (rc >= 0)
		rc = rows_commit(s->options.rows);
	if (rc < 0)
		return rows_refused(s, rc);
	ms_txn_forget(s->txn);
	s->unkept_bytes = 0;
	s->is_rows_full = false;
	return 0;
}

static void rows_due(struct loop_timer *timer)
{
	struct ms_server *s = container_of(timer, struct ms_server, rows_timer);

	/*
	 * Records of a batch under way are not in the journal yet: its end comes here in this turn.
	 */
	if (s->records_len > 0)
		loop_timer_start(s->options.loop, timer, SERVE_ROWS_MS);
	else
		ms_serve_rows_keep(s);	/* says why by itself */
}

void ms_serve_space_init(struct ms_server *s)
{
	s->rows_timer.fn = rows_due;
}
