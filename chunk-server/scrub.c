/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scrub: every stored record is read from the medium and checked by its checksum once in
 * cs.scrub_period, and decoded and proved by its id on each fourth pass. Each disk has a scrub of
 * its own: one reader, one window of memory, paced so that a pass takes most of the period.
 *
 * A pass is a walk over segments in their order, driven by the index (only what it names matters,
 * and what it names must be there):
 *
 *   plan       count the index's rows of each segment
 *   segments   read the footer; check, front to back, the records that the index has there
 *   leftovers  walk over the index once more, and check what is in segments without a good footer
 *              (the one being filled, damaged ones, missing ones) or was not in the footer
 *
 * Walks over the index go in slices, so that requests come between. Blocks that move or go
 * meanwhile are no damage: what is found wrong counts only if the index still names that place. A
 * restart goes on at the first segment with something unchecked (pass.h).
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <string.h>

#include "chunk-server/pass.h"
#include "chunk-server/scrub_read.h"
#include "fs/base/log.h"

#define LOG_MODULE "scrub"

#define DEEP_EVERY	4u
#define SLICE_ROWS	512u	/* of the index, in one turn of the loop */
#define SCRUB_LEFT_MAX	64u	/* records that one slice finds to be checked */
#define SLICE_PAUSE_MS	1u
#define RETRY_MS	50u	/* what is needed is not there yet */
#define IDLE_MS_MAX	60000u	/* how often the calendar is looked at */
#define RATE_MIN	KiB(256)
/* segments of a disk: what numbers of 32 bits and their size allow is less */
#define PLAN_MAX	(1u << 22)

enum scrub_phase { SCRUB_IDLE, SCRUB_PLAN, SCRUB_OPEN, SCRUB_SEGMENT, SCRUB_LEFT };

struct scrub_plan {
	uint64_t number;
	uint64_t rows; /* that the index had there when the pass was planned, less those checked */
};

struct scrub_disk {
	struct scrub *scrub;
	struct cs_store *store;
	struct cs_pass pass;
	enum scrub_phase phase;
	bool is_hurried; /* asked for by somebody who waits */
	struct loop_timer timer;

	struct scrub_plan *plan;
	uint32_t plan_count, plan_capacity, plan_at;
	struct block_id scan_at;
	uint32_t slice;
	int scan_rc;
	bool is_scan_end;
	struct cs_scrub_fill fill;

	struct cs_scrub_reader reader;
	struct loop_work work;
	uint64_t open_number;
	int open_rc;
	bool is_working;
	uint32_t judged; /* of the reader's items */
};

struct scrub {
	struct cs_server *server;
	struct scrub_disk disks[DISKS_MAX];
	uint32_t count;
	bool is_paused, is_stopped;
};

static void step(struct scrub_disk *d);

static struct loop *loop_of(const struct scrub_disk *d)
{
	return d->scrub->server->options.loop;
}

static void step_after(struct scrub_disk *d, uint64_t ms)
{
	if (!d->scrub->is_stopped)
		loop_timer_start(loop_of(d), &d->timer, ms);
}

/* --- pace ---- */

static uint64_t bytes_per_s(const struct scrub_disk *d)
{
	const struct cs_server_options *o = &d->scrub->server->options;

	if (o->scrub_bytes_per_s > 0 || d->is_hurried)
		return o->scrub_bytes_per_s;
	/* A tenth of the period is left for what grows and for time lost. */
	uint64_t period_s = MAX_OF(o->scrub_period_ms / 1000 * 9 / 10, 1u);
	return MAX_OF(d->pass.bytes_total / period_s, RATE_MIN);
}

static uint64_t pause_after(const struct scrub_disk *d, uint64_t bytes)
{
	uint64_t rate = bytes_per_s(d);

	return rate == 0 ? 0 : bytes * 1000 / rate;
}

/* --- walking over the index ---- */

static void id_next(struct block_id *id)
{
	for (uint32_t i = BLOCK_ID_BYTES; i-- > 0 && ++id->bytes[i] == 0;)
		;
}

static void scan_begin(struct scrub_disk *d, enum scrub_phase phase)
{
	d->phase = phase;
	memset(&d->scan_at, 0, sizeof(d->scan_at));
	d->is_scan_end = false;
}

/* One slice: fn may stop it early by returning false. */
static int scan_slice(struct scrub_disk *d, bool (*fn)(void *arg, const struct block_id *id,
						       const struct cs_place *place))
{
	struct block_id zero = {0};

	d->slice = 0;
	d->is_scan_end = true;
	d->scan_rc = 0;
	int rc = cs_store_scan(d->store, &d->scan_at, fn, d);
	if (rc == 0)
		rc = d->scan_rc;
	/* The id of all ones is the last one. */
	if (!d->is_scan_end && block_id_equal(&d->scan_at, &zero))
		d->is_scan_end = true;
	return rc;
}

/* Count a row of a slice; false at its end. */
static bool slice_goes_on(struct scrub_disk *d, const struct block_id *id)
{
	d->scan_at = *id;
	id_next(&d->scan_at);
	if (++d->slice < SLICE_ROWS)
		return true;
	d->is_scan_end = false;
	return false;
}

/* --- the plan ---- */

static struct scrub_plan *plan_find(struct scrub_disk *d, uint64_t number, uint32_t *at)
{
	uint32_t low = 0, high = d->plan_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (d->plan[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	*at = low;
	return low < d->plan_count && d->plan[low].number == number ? &d->plan[low] : NULL;
}

static int plan_add(struct scrub_disk *d, uint64_t number)
{
	uint32_t at;
	struct scrub_plan *plan = plan_find(d, number, &at);

	if (plan != NULL) {
		plan->rows++;
		return 0;
	}
	if (d->plan_count == d->plan_capacity) {
		uint32_t capacity = MAX_OF(64u, d->plan_capacity * 2);
		plan = capacity <= PLAN_MAX ? realloc(d->plan, capacity * sizeof(*plan)) : NULL;
		if (plan == NULL)
			return -E_NOMEM;
		d->plan = plan;
		d->plan_capacity = capacity;
	}
	memmove(&d->plan[at + 1], &d->plan[at], (d->plan_count - at) * sizeof(*d->plan));
	d->plan[at] = (struct scrub_plan){.number = number, .rows = 1};
	d->plan_count++;
	return 0;
}

static bool plan_row(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct scrub_disk *d = arg;

	d->scan_rc = plan_add(d, place->segment);
	d->pass.bytes_total += place->length;
	return d->scan_rc == 0 && slice_goes_on(d, id);
}

static void plan_begin(struct scrub_disk *d)
{
	d->plan_count = 0;
	d->pass.bytes_total = 0;
	scan_begin(d, SCRUB_PLAN);
	step_after(d, 0);
}

static void pass_begin(struct scrub_disk *d, bool is_deep, bool is_hurried)
{
	struct pass_state *state = &d->pass.state;

	cs_pass_begin(&d->pass);
	state->is_deep = is_deep || state->pass % DEEP_EVERY == 0;
	state->records = state->wrong = 0;
	d->is_hurried = is_hurried;
	plan_begin(d);
}

static void pass_end(struct scrub_disk *d)
{
	struct pass_state *state = &d->pass.state;

	state->wrong_last = state->wrong;
	cs_pass_end(&d->pass);
	d->phase = SCRUB_IDLE;
	d->is_hurried = false;
	if (state->wrong > 0)
		log_warn("pass %llu: %llu of %llu records were wrong",
			 (unsigned long long)state->pass, (unsigned long long)state->wrong,
			 (unsigned long long)state->records);
	else
		log_info("pass %llu: %llu records are right", (unsigned long long)state->pass,
			 (unsigned long long)state->records);
	step_after(d, RETRY_MS);
}

/* A walk over the index failed: later. */
static void pass_retry(struct scrub_disk *d, int rc)
{
	log_warn("cannot read the index: %s", error_text(rc));
	d->phase = SCRUB_IDLE;
	step_after(d, IDLE_MS_MAX);
}

static void segment_next(struct scrub_disk *d)
{
	d->phase = SCRUB_OPEN;
	step_after(d, 0);
}

static void plan_step(struct scrub_disk *d)
{
	int rc = scan_slice(d, plan_row);

	if (rc < 0) {
		pass_retry(d, rc);
		return;
	}
	if (!d->is_scan_end) {
		step_after(d, SLICE_PAUSE_MS);
		return;
	}
	(void)plan_find(d, d->pass.state.segment, &d->plan_at);
	cs_pass_save(&d->pass, true);
	segment_next(d);
}

/* --- reading ---- */

static void open_run(struct loop_work *work)
{
	struct scrub_disk *d = container_of(work, struct scrub_disk, work);

	/* Without a footer its records are leftovers. */
	d->open_rc = cs_scrub_open(&d->reader, d->open_number);
}

static void check_run(struct loop_work *work)
{
	struct scrub_disk *d = container_of(work, struct scrub_disk, work);

	cs_scrub_check(&d->reader);
}

static void work_done(struct loop_work *work)
{
	struct scrub_disk *d = container_of(work, struct scrub_disk, work);
	uint64_t bytes = 0;

	d->is_working = false;
	for (uint32_t i = 0; i < d->reader.item_count; i++)
		bytes += d->reader.items[i].entry.length;
	cs_pass_note_speed(&d->pass, bytes);
	step_after(d, pause_after(d, bytes));
}

static void work_start(struct scrub_disk *d, void (*run)(struct loop_work *work))
{
	d->is_working = true;
	d->work.run = run;
	d->work.done = work_done;
	loop_work(loop_of(d), &d->work);
}

static void check_start(struct scrub_disk *d)
{
	d->reader.is_deep = d->pass.state.is_deep;
	d->judged = 0;
	work_start(d, check_run);
}

static bool is_still_there(struct scrub_disk *d, const struct cs_scrub_item *item,
			   struct cs_place *place)
{
	return cs_store_find(d->store, &item->entry.id, place) == 0 &&
	       cs_place_is_at(place, item->segment, item->entry.offset);
}

/* False: damage cannot be reported now, come back. */
static bool judge_wrong(struct scrub_disk *d, const struct cs_scrub_item *item)
{
	struct cs_place place;

	if (!is_still_there(d, item, &place))
		return true;
	int rc = cs_damage_report(d->scrub->server, d->store, &item->entry.id, &place);
	if (rc == -E_OVERLOADED)
		return false;
	d->pass.state.wrong++;
	d->pass.state.records++;
	if (rc < 0)
		log_error("a record is wrong and cannot be replaced: %s seg=%llu off=%llu",
			  error_text(rc), (unsigned long long)item->segment,
			  (unsigned long long)item->entry.offset);
	return true;
}

/* Count what was checked. False: come back. */
static bool judge(struct scrub_disk *d)
{
	struct cs_scrub_reader *r = &d->reader;
	uint32_t at;

	for (; d->judged < r->item_count; d->judged++) {
		const struct cs_scrub_item *item = &r->items[d->judged];
		struct scrub_plan *plan = plan_find(d, item->segment, &at);
		if (item->rc == -E_CORRUPT || item->rc == -E_IO) {
			if (!judge_wrong(d, item))
				return false;
		} else if (item->rc < 0) {
			continue; /* out of memory: unchecked */
		} else {
			d->pass.state.records++;
		}
		d->pass.state.bytes += item->entry.length;
		if (plan != NULL && plan->rows > 0)
			plan->rows--;
	}
	return true;
}

/* --- segments ---- */

/* The position is the first segment of which something is unchecked. */
static void segment_end(struct scrub_disk *d)
{
	uint32_t first = 0;

	if (d->open_rc < 0 && d->plan_at + 1 < d->plan_count) /* the last one is being filled */
		log_error("a sealed segment has no good footer seg=%llu: %s",
			  (unsigned long long)d->open_number, error_text(d->open_rc));
	d->plan_at++;
	while (first < d->plan_at &&
	       (d->plan[first].rows == 0 || d->plan[first].number < d->pass.state.segment))
		first++;
	if (first < d->plan_count)
		d->pass.state.segment = d->plan[first].number;
	cs_pass_save(&d->pass, false);
	segment_next(d);
}

static void open_step(struct scrub_disk *d)
{
	if (d->plan_at == d->plan_count) {
		scan_begin(d, SCRUB_LEFT);
		d->reader.item_count = 0;
		step_after(d, 0);
		return;
	}
	d->phase = SCRUB_SEGMENT;
	d->fill = (struct cs_scrub_fill){.store = d->store, .segment = d->plan[d->plan_at].number};
	d->reader.item_count = 0;
	d->judged = 0;
	d->open_number = d->plan[d->plan_at].number;
	work_start(d, open_run);
}

static void segment_step(struct scrub_disk *d)
{
	if (!judge(d)) {
		step_after(d, RETRY_MS);
		return;
	}
	d->judged = 0;
	cs_scrub_fill(&d->reader, &d->fill);
	if (d->reader.item_count > 0)
		check_start(d);
	else if (d->fill.entry_at < d->reader.entry_count)
		step_after(d, SLICE_PAUSE_MS);
	else
		segment_end(d);
}

/* --- leftovers ---- */

static bool left_row(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct scrub_disk *d = arg;
	struct cs_scrub_reader *r = &d->reader;
	uint32_t at;
	const struct scrub_plan *plan = plan_find(d, place->segment, &at);

	if (plan != NULL && plan->rows > 0 && plan->number >= d->pass.state.segment)
		r->items[r->item_count++] = (struct cs_scrub_item){
			.entry = {.id = *id, .offset = place->offset, .length = place->length},
			.segment = place->segment,
		};
	if (!slice_goes_on(d, id))
		return false;
	if (r->item_count < SCRUB_LEFT_MAX)
		return true;
	d->is_scan_end = false; /* the slice is over, the walk is not */
	return false;
}

static int item_compare(const void *a, const void *b)
{
	const struct cs_scrub_item *x = a, *y = b;

	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	return x->entry.offset < y->entry.offset ? -1 : x->entry.offset > y->entry.offset;
}

static void left_step(struct scrub_disk *d)
{
	struct cs_scrub_reader *r = &d->reader;

	if (!judge(d)) {
		step_after(d, RETRY_MS);
		return;
	}
	r->item_count = d->judged = 0;
	if (d->is_scan_end) {
		pass_end(d);
		return;
	}
	int rc = scan_slice(d, left_row);
	if (rc < 0) {
		pass_retry(d, rc);
	} else if (r->item_count > 0) {
		qsort(r->items, r->item_count, sizeof(r->items[0]), item_compare);
		check_start(d);
	} else {
		step_after(d, SLICE_PAUSE_MS);
	}
}

/* --- the calendar ---- */

static void idle_step(struct scrub_disk *d)
{
	struct scrub *scrub = d->scrub;
	struct cs_server *s = scrub->server;

	/* What is wrong is owed to us by number, and fetched through the map. */
	if (s->number == 0 || map_version(s->map) == 0) {
		step_after(d, RETRY_MS);
		return;
	}
	if (scrub->is_paused || cs_store_is_failed(d->store)) {
		step_after(d, IDLE_MS_MAX);
		return;
	}
	if (d->pass.state.is_running) { /* since before a restart, or a pause */
		plan_begin(d);
		return;
	}
	if (s->options.scrub_period_ms == 0) {
		step_after(d, IDLE_MS_MAX);
		return;
	}
	uint64_t wait_ms = cs_pass_wait_ms(&d->pass, s->options.scrub_period_ms);
	if (wait_ms == 0)
		pass_begin(d, false, false);
	else
		step_after(d, MIN_OF(wait_ms, IDLE_MS_MAX));
}

static void step(struct scrub_disk *d)
{
	if (d->phase != SCRUB_IDLE && (d->scrub->is_paused || cs_store_is_failed(d->store)))
		d->phase = SCRUB_IDLE;
	switch (d->phase) {
	case SCRUB_IDLE:
		idle_step(d);
		break;
	case SCRUB_PLAN:
		plan_step(d);
		break;
	case SCRUB_OPEN:
		open_step(d);
		break;
	case SCRUB_SEGMENT:
		segment_step(d);
		break;
	case SCRUB_LEFT:
		left_step(d);
		break;
	}
}

static void timer_fired(struct loop_timer *timer)
{
	struct scrub_disk *d = container_of(timer, struct scrub_disk, timer);

	if (!d->is_working) /* else the work's end goes on */
		step(d);
}

/* --- requests ---- */

static void start_now(struct scrub *scrub, bool is_deep)
{
	scrub->is_paused = false;
	for (uint32_t i = 0; i < scrub->count; i++) {
		struct scrub_disk *d = &scrub->disks[i];
		/* A worker may still have the reader: what it finds is forgotten. */
		if (!cs_store_is_failed(d->store))
			pass_begin(d, is_deep, true);
	}
}

static void pause_all(struct scrub *scrub)
{
	scrub->is_paused = true;
	for (uint32_t i = 0; i < scrub->count; i++) {
		cs_pass_save(&scrub->disks[i].pass, true);
		step_after(&scrub->disks[i], 0);
	}
}

static void tell_disk(const struct scrub_disk *d, Wire__ScrubReply *reply)
{
	const struct pass_state *state = &d->pass.state;
	bool is_running = state->is_running && !cs_store_is_failed(d->store);

	reply->running |= is_running;
	reply->deep |= is_running && state->is_deep;
	reply->pass = reply->disks == 0 ? state->pass : MIN_OF(reply->pass, state->pass);
	reply->bytes_done += state->bytes;
	reply->bytes_total += MAX_OF(d->pass.bytes_total, state->bytes);
	reply->started_wall_ns = reply->disks == 0
					 ? state->began_ns
					 : MIN_OF(reply->started_wall_ns, state->began_ns);
	reply->finished_wall_ns = reply->disks == 0
					  ? state->ended_ns
					  : MIN_OF(reply->finished_wall_ns, state->ended_ns);
	reply->records += state->records;
	reply->wrong += state->wrong;
	reply->wrong_last += state->wrong_last;
	reply->disks++;
}

void cs_scrub_serve(struct cs_server *s, struct rpc_request *req)
{
	const Wire__Scrub *msg = (const Wire__Scrub *)req->msg;
	Wire__ScrubReply reply = WIRE__SCRUB_REPLY__INIT;
	struct scrub *scrub = s->scrub;

	if (msg->action == 1)
		start_now(scrub, msg->deep);
	else if (msg->action == 2)
		pause_all(scrub);
	for (uint32_t i = 0; i < scrub->count; i++) {
		tell_disk(&scrub->disks[i], &reply);
		reply.bytes_per_s += scrub->disks[i].pass.bytes_per_s;
	}
	reply.paused = scrub->is_paused;
	rpc_answer(req, msg->action > 2 ? -E_INVAL : 0, &reply.base, NULL);
}

/* --- life ---- */

int cs_scrub_create(struct cs_server *s)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));
	int rc = scrub != NULL ? 0 : -E_NOMEM;

	s->scrub = scrub;
	for (uint32_t i = 0; rc == 0 && i < s->options.disk_count; i++) {
		struct scrub_disk *d = &scrub->disks[i];
		struct disk *disk = s->options.disks[i].disk;
		scrub->server = s;
		scrub->count++;
		d->scrub = scrub;
		d->store = s->stores[i];
		d->timer.fn = timer_fired;
		rc = cs_scrub_reader_init(&d->reader, disk, s->hash);
		if (rc == 0) {
			cs_pass_init(&d->pass, &pass_state_scrub, disk, s->options.loop);
			step_after(d, RETRY_MS);
		}
	}
	return rc;
}

void cs_scrub_stop(struct cs_server *s)
{
	for (uint32_t i = 0; i < s->scrub->count; i++) {
		cs_pass_stop(&s->scrub->disks[i].pass);
		loop_timer_stop(s->options.loop, &s->scrub->disks[i].timer);
	}
	s->scrub->is_stopped = true;
}

bool cs_scrub_is_idle(const struct cs_server *s)
{
	for (uint32_t i = 0; i < s->scrub->count; i++) {
		const struct scrub_disk *d = &s->scrub->disks[i];

		if (d->is_working || cs_pass_is_saving(&d->pass))
			return false;
	}
	return true;
}

void cs_scrub_destroy(struct cs_server *s)
{
	if (s->scrub == NULL)
		return;
	s->scrub->is_stopped = true;
	for (uint32_t i = 0; i < s->scrub->count; i++) {
		struct scrub_disk *d = &s->scrub->disks[i];
		loop_timer_stop(s->options.loop, &d->timer);
		cs_scrub_reader_finish(&d->reader);
		free(d->plan);
	}
	free(s->scrub);
	s->scrub = NULL;
}
