/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of a running server: opened on the loop, where the rows stand at the journal's number; written on
 * a worker; published only once that number is durable, so that a snapshot is never ahead of the journal
 * (I4); then the journal is trimmed to the older of the two that are kept. When space is short snapshots come
 * sooner, and the newest, verified, is enough to trim to; if not even one more fits beside the two, the older
 * one makes room.
 */
#include "metadata-server/serve_internal.h"

#include <inttypes.h>
#include <string.h>

#include "fs/base/log.h"
#include "metadata-server/snapshot.h"

#define LOG_MODULE "snapshot"

void ms_serve_snapshot_init(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;
	uint64_t numbers[MS_SNAPSHOTS_KEPT] = { 0 };
	int count = ms_snapshot_list(s->options.disks[0], numbers, MS_SNAPSHOTS_KEPT);

	if (count > 0)
		t->number = numbers[0];
	t->older = count > 1 ? numbers[1] : 0;
	t->journal_bytes = ms_journal_bytes(s->journal);
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

/* --- publish ---------------------------------------------------------------------------------------- */

static void publish_run(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);

	struct ms_snapshotter *t = &s->snapshotter;
	struct snapshot_header found;

	t->rc = ms_snapshot_publish(s->options.disks[0], &t->header);
	if (t->rc >= 0 && t->is_urgent)		/* the older one will be of no use: this one must be good */
		t->rc = ms_snapshot_read(s->options.disks[0], t->header.number, &found, NULL, NULL);
}

static void publish_done(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;

	if (is_orphan(s))
		return;
	if (t->rc < 0) {
		log_error("cannot publish a snapshot: %s", error_text(t->rc));
	} else {
		log_info("snapshot written number=%" PRIu64 " bytes=%" PRIu64, t->header.number, t->bytes);
		t->older = t->number;
		t->number = t->header.number;
		ms_journal_trim(s->journal, t->is_urgent ? t->number : t->older);
	}
	ms_server_stop_check(s);
}

static void publish_start(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;

	t->is_written = false;
	t->is_running = true;
	t->work.run = publish_run;
	t->work.done = publish_done;
	loop_work(s->options.loop, &t->work);
}

void ms_serve_snapshot_durable(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;

	if (t->is_written && !s->is_failed && ms_journal_durable(s->journal) >= t->header.number)
		publish_start(s);
}

/* --- making room ------------------------------------------------------------------------------------ */

/* The older snapshot and its part of the journal are there in case the newest is bad: see that it is not. */
static void room_run(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;
	struct snapshot_header found;

	t->rc = ms_snapshot_read(s->options.disks[0], t->number, &found, NULL, NULL);
	if (t->rc >= 0)
		ms_snapshot_drop(s->options.disks[0], 1);
}

static void room_done(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;

	if (is_orphan(s))
		return;
	if (t->rc < 0) {
		log_error("cannot make room, the newest snapshot is bad: %s", error_text(t->rc));
	} else {
		log_warn("the older snapshot was dropped to make room");
		t->older = t->number;
		t->urgent_after_ms = 0;		/* again, with the room that this made */
		ms_journal_trim(s->journal, t->number);
	}
	ms_server_stop_check(s);
}

static void room_start(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;

	t->is_running = true;
	t->work.run = room_run;
	t->work.done = room_done;
	loop_work(s->options.loop, &t->work);
}

/* --- write ------------------------------------------------------------------------------------------ */

static void write_run(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;

	t->rc = ms_snapshot_write(s->options.disks[0], t->rows, &t->header, t->bytes_max, &t->bytes);
}

static void write_done(struct loop_work *work)
{
	struct ms_server *s = container_of(work, struct ms_server, snapshotter.work);
	struct ms_snapshotter *t = &s->snapshotter;

	rows_snapshot_close(t->rows);
	t->rows = NULL;
	if (is_orphan(s))
		return;
	if (t->rc == -E_NOSPC && t->is_urgent && t->older < t->number && !s->is_stopping) {
		room_start(s);
		return;
	}
	if (t->rc < 0) {
		log_error("cannot write a snapshot: %s", error_text(t->rc));
	} else if (!s->stopped && !s->is_stopping) {
		t->is_written = true;
		ms_journal_sync(s->journal);
		ms_serve_snapshot_durable(s);
	}
	ms_server_stop_check(s);
}

/* Only a snapshot lets the journal be trimmed, and only whole files of it go. */
static bool is_urgent(struct ms_server *s)
{
	return s->is_nearly_full && ms_journal_bytes(s->journal) >= SERVE_BATCH_BYTES &&
	       loop_now_ms(s->options.loop) >= s->snapshotter.urgent_after_ms;
}

void ms_serve_snapshot_tick(struct ms_server *s)
{
	struct ms_snapshotter *t = &s->snapshotter;
	int rc;

	if (t->is_running || t->is_written || s->is_failed || s->records_len > 0 || s->number == t->number)
		return;
	t->is_urgent = is_urgent(s);
	if (!t->is_urgent && t->journal_bytes < s->options.snapshot_bytes)
		return;
	if (ms_server_rows_keep(s) < 0)
		return;
	rc = rows_snapshot_open(s->options.rows, &t->rows);
	if (rc < 0) {
		log_error("cannot open a snapshot of the rows: %s", error_text(rc));
		return;
	}
	t->header = (struct snapshot_header){ .term = s->term, .number = s->number };
	memcpy(t->header.cluster, s->recovery.super.cluster, sizeof(t->header.cluster));
	if (t->is_urgent) {
		t->urgent_after_ms = loop_now_ms(s->options.loop) + SERVE_URGENT_MS;
		ms_journal_rotate(s->journal);
	}
	t->bytes_max = ms_server_room_bytes(s);
	t->journal_bytes = 0;
	t->is_running = true;
	t->work.run = write_run;
	t->work.done = write_done;
	loop_work(s->options.loop, &t->work);
}
