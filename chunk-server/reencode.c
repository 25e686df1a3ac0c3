/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding anew, in the background: blocks that nobody used for long by what makes them smallest,
 * hot ones that are dear to decode by what decodes at the speed of memory. Which is which says
 * heat.h; what is stored as it should be is not even read, nor what was found dense before.
 *
 * A pass goes over the sealed segments of one disk after the other, in their order, so that old
 * segments die whole and compaction gives them back at once. Records are read, proved and encoded
 * on a worker (reencode_work.h), appended, and take the place of the old ones in rounds (store.h).
 * The position (pass.h) passes a segment only when the rounds of it have ended: a restart goes on
 * there.
 *
 * Only who has the turn works: the metadata server gives it to one server at a time, and to none
 * while a group lacks a copy, so no mistake of codecs or machines is ever made on all copies at
 * once. Who finds that an encoding does not decode to its block stops for good, and says so.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>

#include "chunk-server/pass.h"
#include "chunk-server/reencode_work.h"
#include "fs/base/log.h"
#include "fs/base/metrics.h"

#define LOG_MODULE "reencode"

#define PASS_PARTS     4u     /* passes in the time after which a block is cold */
#define PAUSE_MS       1u     /* between slices of a footer */
#define RETRY_MS       50u    /* what is needed is not there yet */
#define NOSPC_MS       2000u  /* compaction is to give room */
#define IDLE_MS	       1000u  /* how often the calendar and the turn are looked at */
#define COMPACT_PERCENT 5u    /* "now": and give back what died */

enum phase {
	PHASE_IDLE,
	PHASE_OPEN,  /* the next segment, if there is one */
	PHASE_FILL,  /* the next records of it */
	PHASE_WORK,  /* a worker has them */
	PHASE_WRITE, /* they are appended */
	PHASE_ROUND, /* a round ends */
};

struct reencode_disk {
	struct reencode *reencode;
	struct cs_store *store;
	struct disk *disk;
	struct cs_pass pass;
	bool is_compacted; /* in this pass, for room */
};

struct reencode_put {
	struct cs_put put;
	struct cs_place from;
	struct reencode *reencode;
};

struct reencode {
	struct cs_server *server;
	struct reencode_disk disks[DISKS_MAX];
	uint32_t count;
	struct reencode_disk *at; /* being worked on; NULL: none */
	enum phase phase;
	bool is_paused, is_stopped, is_wrong;
	bool wants; /* as told last */
	uint64_t turn_until_ms;
	struct loop_timer timer;

	struct cs_reencoder encoder;
	struct cs_scrub_fill fill;
	struct loop_work work;
	int open_rc;
	uint64_t live; /* in the segment, when it was opened */
	bool is_working;
	struct reencode_put puts[REENCODE_BATCH];
	uint32_t puts_busy;
	int put_rc;
	bool wants_room;
	struct cs_round round;
	uint64_t round_ms; /* when its first record was added */
	uint64_t pause_ms; /* what the last batch has to be paid with */
};

static void step(struct reencode *r);

static struct loop *loop_of(const struct reencode *r)
{
	return r->server->options.loop;
}

static uint64_t now_ms_of(const struct reencode *r)
{
	return loop_now_ms(loop_of(r));
}

static void step_after(struct reencode *r, uint64_t ms)
{
	if (!r->is_stopped)
		loop_timer_start(loop_of(r), &r->timer, ms);
}

/* --- the calendar ---- */

static uint64_t period_ms(const struct reencode *r)
{
	return MAX_OF(r->server->options.cold_after_ms / PASS_PARTS, 1u);
}

/* Is a pass of this disk due, or under way? */
static bool disk_wants(const struct reencode *r, const struct reencode_disk *d)
{
	const struct cs_server *s = r->server;

	if (cs_store_is_failed(d->store))
		return false;
	if (d->pass.state.is_running)
		return true;
	if (!s->options.reencode || s->options.cold_after_ms == 0 ||
	    !cs_heat_knows(s->heat, now_ms_of(r)))
		return false;
	return cs_pass_wait_ms(&d->pass, period_ms(r)) == 0;
}

static bool any_wants(const struct reencode *r)
{
	if (r->is_paused || r->is_wrong || r->is_stopped)
		return false;
	for (uint32_t i = 0; i < r->count; i++) {
		if (disk_wants(r, &r->disks[i]))
			return true;
	}
	return false;
}

static bool has_turn(const struct reencode *r)
{
	return now_ms_of(r) < r->turn_until_ms;
}

static bool may_work(const struct reencode *r)
{
	return !r->is_paused && !r->is_wrong && !r->is_stopped && has_turn(r) &&
	       !cs_store_is_failed(r->at->store);
}

static uint64_t bytes_of(const struct cs_store *store)
{
	uint64_t sum = 0, live, number = 0;

	for (; cs_store_segment_next(store, &number, &live); number++)
		sum += live;
	return sum;
}

static void pass_begin(struct reencode_disk *d, bool is_all)
{
	struct pass_state *state = &d->pass.state;

	cs_pass_begin(&d->pass);
	state->is_all = is_all;
	state->blocks = state->bytes_before = state->bytes_after = 0;
	d->pass.bytes_total = bytes_of(d->store);
	d->is_compacted = false;
	cs_pass_save(&d->pass, true);
}

static void pass_end(struct reencode *r)
{
	struct reencode_disk *d = r->at;
	struct pass_state *state = &d->pass.state;

	cs_pass_end(&d->pass);
	if (state->blocks > 0)
		log_info("pass %llu: %llu blocks took %llu bytes and take %llu now",
			 (unsigned long long)state->pass, (unsigned long long)state->blocks,
			 (unsigned long long)state->bytes_before,
			 (unsigned long long)state->bytes_after);
	if (state->is_all && state->blocks > 0)
		cs_store_compact(d->store, COMPACT_PERCENT);
	r->at = NULL;
	r->phase = PHASE_IDLE;
	step_after(r, 0);
}

/* --- what is wanted of a block ---- */

static bool is_small(uint8_t codec)
{
	return codec == CODEC_ZSTD || codec == CODEC_PLANES;
}

static enum cs_heat_kind heat_of(struct reencode *r, const struct block_id *id)
{
	if (r->at->pass.state.is_all)
		return CS_COLD;
	return cs_heat_of(r->server->heat, id, now_ms_of(r));
}

/* Does what is cold here reach its readers sooner as it is? Who asks for all wants space. */
static bool is_better_fast(const struct reencode *r)
{
	uint32_t disk = (uint32_t)(r->at - r->disks);

	return !r->at->pass.state.is_all && cs_media_cold_aim(r->server, disk) == CODEC_AIM_FAST;
}

/* Take it (1), leave it (0), or wait for a turn among the clients (-1). */
static int wants(void *arg, const struct block_id *id, const struct cs_place *place)
{
	struct reencode *r = arg;
	uint32_t n = r->encoder.reader.item_count;
	enum cs_heat_kind heat;

	if (place->trashed_ms != 0 || (place->is_dense && !is_small(place->codec)))
		return 0;
	heat = heat_of(r, id);
	if (is_small(place->codec) ? heat != CS_HOT : heat != CS_COLD || is_better_fast(r))
		return 0;
	/* What makes it larger waits until there is room. */
	if (is_small(place->codec) && !cs_store_takes_puts(r->at->store))
		return 0;
	if (n == REENCODE_BATCH || !cs_share_take(&r->server->share, now_ms_of(r)))
		return -1;
	struct cs_reencode_job *job = &r->encoder.jobs[n];
	struct buf *out = buf_get(r->server->options.pool, RECORD_BYTES_MAX);
	if (out == NULL)
		return -1;
	*job = (struct cs_reencode_job){
		.aim = is_small(place->codec) ? CODEC_AIM_FAST : CODEC_AIM_SMALL,
		.out = out,
	};
	r->puts[n].from = *place;
	return 1;
}

/* --- rounds ---- */

static void round_ended(struct cs_round *round)
{
	struct reencode *r = container_of(round, struct reencode, round);
	struct pass_state *state = &r->at->pass.state;

	METRIC_ADD(reencode_blocks, round->blocks);
	METRIC_ADD(reencode_bytes_before, round->bytes_before);
	METRIC_ADD(reencode_bytes_after, round->bytes_after);
	state->blocks += round->blocks;
	state->bytes_before += round->bytes_before;
	state->bytes_after += round->bytes_after;
	if (round->rc < 0)
		log_warn("what was encoded anew is not used: %s", error_text(round->rc));
	r->is_working = false;
	r->phase = PHASE_FILL;
	step_after(r, 0);
}

static void round_end(struct reencode *r)
{
	r->phase = PHASE_ROUND;
	r->is_working = true;
	cs_round_end(&r->round);
}

/* What is written is in vain until its round ends: not for long. */
static bool is_round_due(const struct reencode *r)
{
	return r->round.count + REENCODE_BATCH > CS_ROUND_MAX ||
	       (r->round.count > 0 && now_ms_of(r) >= r->round_ms + IDLE_MS);
}

/* --- one batch ---- */

static void batch_end(struct reencode *r)
{
	r->is_working = false;
	r->encoder.reader.item_count = 0;
	r->phase = PHASE_FILL;
	r->wants_room = r->put_rc == -E_NOSPC;
	step_after(r, r->pause_ms);
}

/* The disk is full, and what died in the rounds so far may be had. Once: a pass is long. */
static void make_room(struct reencode *r)
{
	r->wants_room = false;
	if (!r->at->is_compacted)
		cs_store_compact(r->at->store, COMPACT_PERCENT);
	r->at->is_compacted = true;
	step_after(r, NOSPC_MS);
}

static void put_done(struct cs_put *put)
{
	struct reencode_put *p = container_of(put, struct reencode_put, put);
	struct reencode *r = p->reencode;

	if (put->rc == 0 && r->round.count == 0)
		r->round_ms = now_ms_of(r);
	if (put->rc == 0)
		cs_round_add(&r->round, put, &p->from);
	else
		r->put_rc = put->rc;
	if (--r->puts_busy == 0)
		batch_end(r);
}

static void found_wrong(struct reencode *r, const struct cs_scrub_item *item)
{
	char hex[BLOCK_ID_HEX_BYTES];

	METRIC_INC(reencode_wrong);
	log_error("an encoding does not decode to its block: no more is encoded anew here "
		  "block=%s seg=%llu off=%llu",
		  block_id_hex(&item->entry.id, hex), (unsigned long long)item->segment,
		  (unsigned long long)item->entry.offset);
	r->is_wrong = true;
	cs_heartbeat_soon(r->server);
}

static void put_start(struct reencode *r, uint32_t i)
{
	const struct cs_reencode_job *job = &r->encoder.jobs[i];
	struct reencode_put *p = &r->puts[i];

	p->reencode = r;
	p->put = (struct cs_put){
		.record = job->out,
		.id = r->encoder.reader.items[i].entry.id,
		.plain_len = p->from.plain_len,
		/* What gives space back may use of the reserve. */
		.kind = job->aim == CODEC_AIM_FAST ? CS_PUT_ORDINARY : CS_PUT_HEALING,
		.done = put_done,
	};
	r->puts_busy++;
	cs_store_append(r->at->store, &p->put);
}

static void judge(struct reencode *r, uint32_t i)
{
	const struct cs_scrub_item *item = &r->encoder.reader.items[i];
	struct cs_reencode_job *job = &r->encoder.jobs[i];

	switch (job->verdict) {
	case REENCODE_BETTER:
		if (!r->is_wrong)
			put_start(r, i);
		break;
	case REENCODE_DENSE:
		METRIC_INC(reencode_dense);
		(void)!cs_store_set_dense(r->at->store, &item->entry.id, &r->puts[i].from);
		break;
	case REENCODE_DAMAGED:
		/* Full: the scrub or a reader will find it. */
		(void)cs_damage_report(r->server, r->at->store, &item->entry.id, &r->puts[i].from);
		break;
	case REENCODE_WRONG:
		found_wrong(r, item);
		break;
	case REENCODE_UNREADABLE:
		break;
	}
	buf_put(job->out); /* the put has its own reference */
	job->out = NULL;
}

static bool is_still_there(struct reencode *r, uint32_t i)
{
	const struct cs_place *from = &r->puts[i].from;
	struct cs_place place;

	return cs_store_find(r->at->store, &r->encoder.reader.items[i].entry.id, &place) == 0 &&
	       cs_place_is_at(&place, from->segment, from->offset) && place.trashed_ms == 0;
}

static void work_done(struct loop_work *work)
{
	struct reencode *r = container_of(work, struct reencode, work);
	uint32_t count = r->encoder.reader.item_count;
	uint64_t bytes = 0, rate = r->server->options.reencode_bytes_per_s;

	r->put_rc = 0;
	r->phase = PHASE_WRITE;
	r->puts_busy = 1; /* ours: puts are answered later, but nobody shall rely on it */
	for (uint32_t i = 0; i < count; i++) {
		bytes += r->puts[i].from.plain_len;
		/* Freed, compacted or quarantined meanwhile: left alone. */
		if (!is_still_there(r, i) || r->is_stopped)
			r->encoder.jobs[i].verdict = REENCODE_UNREADABLE;
		judge(r, i);
	}
	cs_pass_note_speed(&r->at->pass, bytes);
	r->pause_ms = rate == 0 ? 0 : DIV_CEIL(bytes * 1000, rate);
	if (--r->puts_busy == 0)
		batch_end(r);
}

static void encode_run(struct loop_work *work)
{
	cs_reencoder_run(&container_of(work, struct reencode, work)->encoder);
}

/* --- segments ---- */

static void open_run(struct loop_work *work)
{
	struct reencode *r = container_of(work, struct reencode, work);

	r->open_rc = cs_scrub_open(&r->encoder.reader, r->fill.segment);
}

static void open_done(struct loop_work *work)
{
	struct reencode *r = container_of(work, struct reencode, work);

	r->is_working = false;
	if (r->open_rc < 0) /* compacted meanwhile, or damaged: the scrub tells */
		r->encoder.reader.entry_count = 0;
	r->phase = PHASE_FILL;
	step_after(r, 0);
}

static void open_step(struct reencode *r)
{
	uint64_t live, number = r->at->pass.state.segment;

	if (cs_store_is_rolling(r->at->store)) {
		step_after(r, RETRY_MS);
		return;
	}
	if (!cs_store_segment_next(r->at->store, &number, &live)) {
		pass_end(r);
		return;
	}
	r->at->pass.state.segment = number;
	r->live = live;
	r->fill = (struct cs_scrub_fill){
		.store = r->at->store, .segment = number, .wants = wants, .arg = r};
	r->is_working = true;
	r->work = (struct loop_work){.run = open_run, .done = open_done};
	loop_work(loop_of(r), &r->work);
}

static void segment_end(struct reencode *r)
{
	/* Else another pass began meanwhile. */
	if (r->at->pass.state.segment == r->fill.segment) {
		r->at->pass.state.bytes += r->live;
		r->at->pass.state.segment = r->fill.segment + 1;
		cs_pass_save(&r->at->pass, false);
	}
	r->phase = PHASE_OPEN;
	step_after(r, 0);
}

static void fill_step(struct reencode *r)
{
	struct cs_scrub_reader *reader = &r->encoder.reader;

	if (is_round_due(r) || (r->wants_room && r->round.count > 0)) {
		round_end(r);
		return;
	}
	if (r->wants_room) {
		make_room(r);
		return;
	}
	uint32_t before = r->fill.entry_at;
	cs_scrub_fill(reader, &r->fill);
	if (reader->item_count > 0) {
		r->phase = PHASE_WORK;
		r->is_working = true;
		r->work = (struct loop_work){.run = encode_run, .done = work_done};
		loop_work(loop_of(r), &r->work);
	} else if (r->fill.entry_at < reader->entry_count) {
		/* Clients have the turn, or there is no buffer; or many that are well. */
		step_after(r, r->fill.entry_at == before ? CS_SHARE_WAIT_MS : PAUSE_MS);
	} else if (r->round.count > 0) {
		round_end(r);
	} else {
		segment_end(r);
	}
}

/* --- turns ---- */

/* Tell the metadata server soon when it matters to others. */
static void wants_note(struct reencode *r)
{
	bool now = any_wants(r);

	if (now == r->wants)
		return;
	r->wants = now;
	cs_heartbeat_soon(r->server);
}

static int disk_take(struct reencode *r, struct reencode_disk *d)
{
	cs_reencoder_finish(&r->encoder);
	int rc = cs_reencoder_init(&r->encoder, d->disk, r->server->hash);

	if (rc < 0)
		return rc;
	if (!d->pass.state.is_running)
		pass_begin(d, false);
	d->pass.bytes_total = MAX_OF(d->pass.bytes_total, bytes_of(d->store));
	r->at = d;
	r->round.store = d->store;
	r->round.done = round_ended;
	r->wants_room = false;
	r->phase = PHASE_OPEN;
	return 0;
}

static void idle_step(struct reencode *r)
{
	wants_note(r);
	for (uint32_t i = 0; i < r->count && r->wants && has_turn(r); i++) {
		if (disk_wants(r, &r->disks[i]) && disk_take(r, &r->disks[i]) == 0) {
			step_after(r, 0);
			return;
		}
	}
	step_after(r, IDLE_MS);
}

static void step(struct reencode *r)
{
	ASSERT(!r->is_working);
	if (r->at != NULL && !may_work(r)) {
		/* What was written counts; the segment is looked at again. */
		if (r->round.count > 0 && !cs_store_is_failed(r->at->store)) {
			round_end(r);
			return;
		}
		cs_round_drop(&r->round);
		cs_pass_save(&r->at->pass, true);
		r->at = NULL;
		r->phase = PHASE_IDLE;
	}
	if (r->phase == PHASE_OPEN)
		open_step(r);
	else if (r->phase == PHASE_FILL)
		fill_step(r);
	else
		idle_step(r);
}

static void timer_fired(struct loop_timer *timer)
{
	struct reencode *r = container_of(timer, struct reencode, timer);

	if (!r->is_working) /* else the work's end goes on */
		step(r);
}

void cs_reencode_turn(struct cs_server *s, uint64_t sent_ms, uint32_t turn_ms)
{
	struct reencode *r = s->reencode;
	bool had = has_turn(r);

	r->turn_until_ms = turn_ms > 0 ? sent_ms + turn_ms : 0;
	if (!had && has_turn(r) && !r->is_working)
		step_after(r, 0);
}

/* --- requests ---- */

static void start_now(struct reencode *r)
{
	r->is_paused = false;
	for (uint32_t i = 0; i < r->count; i++) {
		if (cs_store_is_failed(r->disks[i].store))
			continue;
		cs_store_roll(r->disks[i].store);
		pass_begin(&r->disks[i], true);
	}
	wants_note(r);
}

static void pause_all(struct reencode *r)
{
	r->is_paused = true;
	wants_note(r);
}

static void tell_disk(const struct reencode_disk *d, Wire__ReencodeStatus *out)
{
	const struct pass_state *state = &d->pass.state;
	bool is_running = state->is_running && !cs_store_is_failed(d->store);

	out->running |= is_running;
	out->all |= is_running && state->is_all;
	out->pass = MAX_OF(out->pass, state->pass);
	out->bytes_done += state->bytes;
	out->bytes_total += MAX_OF(d->pass.bytes_total, state->bytes);
	out->blocks += state->blocks;
	out->bytes_before += state->bytes_before;
	out->bytes_after += state->bytes_after;
	out->started_wall_ns = MAX_OF(out->started_wall_ns, state->began_ns);
	out->finished_wall_ns = MAX_OF(out->finished_wall_ns, state->ended_ns);
}

void cs_reencode_tell(const struct cs_server *s, Wire__ReencodeStatus *out)
{
	const struct reencode *r = s->reencode;

	wire__reencode_status__init(out);
	for (uint32_t i = 0; i < r->count; i++)
		tell_disk(&r->disks[i], out);
	out->wants = any_wants(r);
	out->turn = has_turn(r) && r->at != NULL;
	out->paused = r->is_paused;
	out->wrong = r->is_wrong;
	out->bytes_per_s = r->at != NULL ? r->at->pass.bytes_per_s : 0;
}

void cs_reencode_serve(struct cs_server *s, struct rpc_request *req)
{
	const Wire__Reencode *msg = (const Wire__Reencode *)req->msg;
	Wire__ReencodeReply reply = WIRE__REENCODE_REPLY__INIT;
	Wire__ReencodeStatus status;

	if (msg->action == 1)
		start_now(s->reencode);
	else if (msg->action == 2)
		pause_all(s->reencode);
	cs_reencode_tell(s, &status);
	reply.status = &status;
	rpc_answer(req, msg->action > 2 ? -E_INVAL : 0, &reply.base, NULL);
}

/* --- life ---- */

int cs_reencode_create(struct cs_server *s)
{
	struct reencode *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return -E_NOMEM;
	s->reencode = r;
	r->server = s;
	r->timer.fn = timer_fired;
	for (uint32_t i = 0; i < s->options.disk_count; i++) {
		struct reencode_disk *d = &r->disks[i];
		d->reencode = r;
		d->store = s->stores[i];
		d->disk = s->options.disks[i].disk;
		cs_pass_init(&d->pass, &pass_state_reencode, d->disk, s->options.loop);
		r->count++;
	}
	step_after(r, IDLE_MS);
	return 0;
}

void cs_reencode_stop(struct cs_server *s)
{
	struct reencode *r = s->reencode;

	for (uint32_t i = 0; i < r->count; i++)
		cs_pass_stop(&r->disks[i].pass);
	r->is_stopped = true;
	loop_timer_stop(loop_of(r), &r->timer);
}

bool cs_reencode_is_idle(const struct cs_server *s)
{
	for (uint32_t i = 0; i < s->reencode->count; i++) {
		if (cs_pass_is_saving(&s->reencode->disks[i].pass))
			return false;
	}
	return !s->reencode->is_working;
}

void cs_reencode_destroy(struct cs_server *s)
{
	struct reencode *r = s->reencode;

	if (r == NULL)
		return;
	r->is_stopped = true;
	loop_timer_stop(loop_of(r), &r->timer);
	for (uint32_t i = 0; i < REENCODE_BATCH; i++)
		buf_put(r->encoder.jobs[i].out);
	cs_reencoder_finish(&r->encoder);
	free(r);
	s->reencode = NULL;
}
