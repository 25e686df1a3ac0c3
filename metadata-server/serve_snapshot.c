/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of a running server: opened on the loop, where the rows stand at the journal's number;
 * written on a worker, to every journal directory in good health, so that each of them is enough;
 * published only once that number is durable, so that a snapshot is never ahead of the journal
 * (I4); then the journal is trimmed to the older of the two that are kept. A directory that refuses
 * for another reason than space is out of service. When space is short snapshots come sooner, and
 * the newest, verified, is enough to trim to; if not even one more fits beside the two, the older
 * one makes room.
 */
#include "metadata-server/serve_internal.h"

#include <inttypes.h>
#include <string.h>

#include "fs/base/log.h"

#define LOG_MODULE "snapshot"

static void find_info(struct disk *disk, uint64_t number, struct ms_snapshot_info *out)
{
	if (ms_snapshot_info(disk, number, out) < 0)
		*out = (struct ms_snapshot_info){ 0 };	/* damaged: nothing to copy */
}

void ms_serve_snapshot_init(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;
	uint64_t numbers[MS_SNAPSHOTS_KEPT] = { 0 };
	struct disk *disk = s->recovery.disk;
	int count = ms_snapshot_list(disk, numbers, MS_SNAPSHOTS_KEPT);

	if (count > 0) {
		t->number = numbers[0];
		find_info(disk, numbers[0], &t->newest);
	}
	if (count > 1) {
		t->older = numbers[1];
		find_info(disk, numbers[1], &t->before);
	}
	t->journal_bytes = ms_journal_bytes(s->journal);
}

/* --- all directories -------------------------------------------------------------------------- */

/* On the loop: a piece of work for each directory in good health; false: none is left. */
static void work_begin(struct ms_server *s, void (*run)(struct loop_work *),
		       void (*done)(struct loop_work *))
{
	struct ms_snapshotter *t = &s->snapshotter;

	t->disk_count = ms_journal_disks(s->journal, t->disks);
	memset(t->rcs, 0, sizeof(t->rcs));
	t->is_running = true;
	t->work.run = run;
	t->work.done = done;
	loop_work(s->options.loop, &t->work);
}

/*
 * On the loop, when it is done: the result of all. A directory that failed by itself is given up.
 */
static int work_result(struct ms_server *s, const char *what)
{
	struct ms_snapshotter *t = &s->snapshotter;
	uint32_t good = 0;

	for (uint32_t i = 0; i < t->disk_count; i++) {
		if (t->rcs[i] == -E_NOSPC || t->rcs[i] == -E_NOMEM)
			return t->rcs[i];
		good += t->rcs[i] >= 0;
	}
	if (good == 0)	/* the same everywhere: it is not the directories */
		return t->disk_count ? t->rcs[0] : -E_IO;
	for (uint32_t i = 0; i < t->disk_count; i++)
		if (t->rcs[i] < 0)
			ms_journal_drop(s->journal, t->disks[i], t->rcs[i], what);
	return 0;
}

/* The worker is back: may the server be gone by now? */
static bool is_orphan(struct ms_server *s)
{
	bool is_dead = s->is_dead;

	s->snapshotter.is_running = false;
	if (is_dead)
		ms_server_free(s);
	return is_dead;
}

/* It stays due, but not at once. */
static void try_again(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;

	t->journal_bytes = MAX_OF(t->journal_bytes, s->options.snapshot_bytes);
	t->retry_ms = loop_now_ms(s->options.loop) + SERVE_URGENT_MS;
}

/* --- publish ---------------------------------------------------------------------------------- */

static void publish_run(struct loop_work *work)
{
	struct ms_snapshotter *t = container_of(work, struct ms_snapshotter, work);
	struct snapshot_header found;

	for (uint32_t i = 0; i < t->disk_count; i++) {
		t->rcs[i] = ms_snapshot_publish(t->disks[i], &t->header);
		if (t->rcs[i] >= 0 && t->is_urgent)	/* the older one is of no use then */
			t->rcs[i] =
				ms_snapshot_read(t->disks[i], t->header.number, &found, NULL, NULL);
	}
}

static void publish_done(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;

	if (is_orphan(s))
		return;
	t->rc = work_result(s, "cannot publish a snapshot");
	if (t->rc < 0) {
		log_error("cannot publish a snapshot: %s", error_text(t->rc));
		try_again(s);
	} else {
		log_info("snapshot written number=%" PRIu64 " bytes=%" PRIu64, t->header.number,
			 t->bytes);
		t->older = t->number;
		t->number = t->header.number;
		t->before = t->newest;
		t->newest = (struct ms_snapshot_info){ t->header.term, t->header.number, t->bytes };
		ms_journal_trim(s->journal, t->is_urgent ? t->number : t->older);
	}
	ms_server_stop_check(s);
}

static void publish_start(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;

	t->is_written = false;
	work_begin(s, publish_run, publish_done);
}

void ms_serve_snapshot_durable(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;

	if (t->is_written && !s->is_failed && ms_journal_durable(s->journal) >= t->header.number)
		publish_start(s);
}

/* --- making room ------------------------------------------------------------------------------ */

/*
 * The older snapshot and its part of the journal are there in case the newest is bad: see that it
 * is not.
 */
static void room_run(struct loop_work *work)
{
	struct ms_snapshotter *t = container_of(work, struct ms_snapshotter, work);
	struct snapshot_header found;

	for (uint32_t i = 0; i < t->disk_count; i++) {
		t->rcs[i] = ms_snapshot_read(t->disks[i], t->number, &found, NULL, NULL);
		if (t->rcs[i] >= 0)
			ms_snapshot_drop(t->disks[i], 1);
	}
}

static void room_done(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;

	if (is_orphan(s))
		return;
	t->rc = work_result(s, "has a bad snapshot");
	if (t->rc < 0) {
		log_error("cannot make room, the newest snapshot is bad: %s", error_text(t->rc));
	} else {
		log_warn("the older snapshot was dropped to make room");
		t->older = t->number;
		t->before = (struct ms_snapshot_info){ 0 };
		t->urgent_after_ms = 0;		/* again, with the room that this made */
		ms_journal_trim(s->journal, t->number);
	}
	ms_server_stop_check(s);
}

/* --- write ------------------------------------------------------------------------------------ */

/* The rows can be read once: the first directory that takes them gives them to the others. */
static void write_run(struct loop_work *work)
{
	struct ms_snapshotter *t = container_of(work, struct ms_snapshotter, work);

	if (t->disk_count == 0)
		return;
	t->rcs[0] = ms_snapshot_write(t->disks[0], t->rows, &t->header, t->bytes_max, &t->bytes);
	for (uint32_t i = 1; i < t->disk_count; i++)
		t->rcs[i] = t->rcs[0] < 0 ? t->rcs[0] : ms_snapshot_copy(t->disks[0], t->disks[i]);
}

/* If the first one failed, nothing was written; without it the next attempt begins at another. */
static int write_result(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;
	int rc = t->disk_count ? t->rcs[0] : -E_IO;

	if (rc >= 0)
		return work_result(s, "cannot write a snapshot");
	if (rc != -E_NOSPC && rc != -E_NOMEM && t->disk_count > 1)
		ms_journal_drop(s->journal, t->disks[0], rc, "cannot write a snapshot");
	return rc;
}

static void write_done(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;

	rows_snapshot_close(t->rows);
	t->rows = NULL;
	if (is_orphan(s))
		return;
	t->rc = write_result(s);
	if (t->rc == -E_NOSPC && t->is_urgent && t->older < t->number && !s->is_stopping) {
		work_begin(s, room_run, room_done);
		return;
	}
	if (t->rc < 0) {
		log_error("cannot write a snapshot: %s", error_text(t->rc));
		try_again(s);
	} else if (!s->stopped && !s->is_stopping) {
		t->is_written = true;
		ms_journal_sync(s->journal);
		ms_serve_snapshot_durable(s);
	}
	ms_server_stop_check(s);
}

/*
 * Only a snapshot lets the journal be trimmed, and only whole files of it go; and with it goes the
 * older one of the two, which may be most of what fills a small disk while the journal is short.
 */
static bool is_urgent(struct ms_server *s)
{
	const struct ms_snapshotter *t = &s->snapshotter;
	uint64_t gain = ms_journal_bytes(s->journal) + t->before.bytes;

	return s->is_nearly_full && gain >= SERVE_BATCH_BYTES &&
	       loop_now_ms(s->options.loop) >= t->urgent_after_ms;
}

void ms_serve_snapshot_tick(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;
	int rc;

	if (t->is_running || t->is_written || s->is_failed || s->records_len > 0 ||
	    s->number == t->number)
		return;
	t->is_urgent = is_urgent(s);
	if (!t->is_urgent && loop_now_ms(s->options.loop) < t->retry_ms)
		return;
	if (!t->is_urgent && t->journal_bytes < s->options.snapshot_bytes &&
	    ms_journal_parts(s->journal) < SERVE_PARTS_MAX)
		return;
	if (ms_serve_rows_keep(s) < 0)
		return;
	rc = rows_snapshot_open(s->options.rows, &t->rows);
	if (rc < 0) {
		log_error("cannot open a snapshot of the rows: %s", error_text(rc));
		return;
	}
	t->header = ms_snapshot_header(&s->recovery.super, s->term, s->number);
	if (t->is_urgent) {
		t->urgent_after_ms = loop_now_ms(s->options.loop) + SERVE_URGENT_MS;
		ms_journal_rotate(s->journal);
	}
	t->bytes_max = ms_serve_room_bytes(s);
	t->journal_bytes = 0;
	work_begin(s, write_run, write_done);
}
