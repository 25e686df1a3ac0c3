/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All tiers of a mount: life, the table of contents, pins, orders and reports. What was submitted
 * or has to be told is done in a task of its own, once a turn, so that nothing calls back inside
 * the call that caused it.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/tier/tier_internal.h"
#include "fs/base/log.h"

#define LOG_MODULE "tier"

/* --- table and pins --------------------------------------------------------------------------- */

struct tier_file *tiers_lookup(const struct tiers *t, const struct root *root)
{
	uint8_t key[ROOT_BYTES];
	struct tier_file *f;

	root_encode(root, key);
	HASH_FIND(hh, t->files, key, sizeof key, f);
	return f;
}

static struct pin *pin_find(const struct tiers *t, const struct root *root)
{
	uint8_t key[ROOT_BYTES];
	struct pin *pin;

	root_encode(root, key);
	HASH_FIND(hh, t->pins, key, sizeof key, pin);
	return pin;
}

bool tiers_is_pinned(const struct tiers *t, const struct root *root)
{
	return pin_find(t, root) != NULL;
}

static int pin_add(struct tiers *t, const struct root *root)
{
	struct pin *pin;

	if (HASH_COUNT(t->pins) >= TIER_PINS_MAX)
		return -E_NOSPC;
	pin = calloc(1, sizeof *pin);
	if (pin == NULL)
		return -E_NOMEM;
	root_encode(root, pin->key);
	HASH_ADD(hh, t->pins, key, sizeof pin->key, pin);
	return 0;
}

int tiers_pin(struct tiers *t, const struct root *root, bool pinned)
{
	struct pin *pin = pin_find(t, root);
	struct tier_file *f = tiers_lookup(t, root);
	int rc = 0;

	if (pinned && pin == NULL)
		rc = pin_add(t, root);
	if (!pinned && pin != NULL) {
		HASH_DELETE(hh, t->pins, pin);
		free(pin);
	}
	if (rc == 0 && f != NULL)
		f->is_pinned = pinned;
	return rc;
}

/* --- the turn --------------------------------------------------------------------------------- */

static void tell(struct tiers *t, struct tier_file *f)
{
	const struct tiers_options *o = &t->options;

	if (f->tells_sealed && o->on_sealed != NULL)
		o->on_sealed(o->arg, &f->item.root);
	f->tells_sealed = false;
	if (f->tells_seal_done) {
		void (*done)(void *arg, int rc) = f->seal_done;

		f->tells_seal_done = false;
		f->seal_done = NULL;
		done(f->seal_arg, f->seal_rc);
	}
	if (f->tells_gone && o->on_gone != NULL)
		o->on_gone(o->arg, &f->item.root);
	f->tells_gone = false;
}

static void tell_all(struct tiers *t)
{
	struct tier_file *telling = t->telling, *f;

	t->telling = NULL;
	while ((f = telling) != NULL) {
		DL_DELETE2(telling, f, told_prev, told_next);
		/* What is told keeps the file, and may have more to be told in the next turn. */
		f->is_telling = false;
		f->refs++;
		tell(t, f);
		tier_put(f);
	}
}

static void start_submitted(struct tiers *t)
{
	struct tier_io *submitted = t->submitted, *io;

	t->submitted = NULL;
	while ((io = submitted) != NULL) {
		DL_DELETE(submitted, io);
		tier_io_start(io);
	}
}

static void stop_advance(struct tiers *t)
{
	bool is_closed = true;

	if (t->jobs > 0 || t->is_turn_posted)
		return;
	for (uint32_t i = 0; i < t->place_count; i++) {
		tiers_place_close(&t->places[i]);
		is_closed = is_closed && t->places[i].state == PLACE_CLOSED;
	}
	if (!is_closed || t->jobs > 0 || t->stop_done == NULL)
		return;
	void (*done)(void *arg) = t->stop_done;
	t->stop_done = NULL;
	t->is_stopped = true;
	done(t->stop_arg);
}

static void turn_run(struct loop_task *task)
{
	struct tiers *t = container_of(task, struct tiers, turn);

	t->is_turn_posted = false;
	start_submitted(t);
	tell_all(t);
	if (t->is_stopping)
		stop_advance(t);
}

void tiers_wake(struct tiers *t)
{
	if (t->is_turn_posted || t->is_stopped)
		return;
	t->is_turn_posted = true;
	loop_post(t->loop, &t->turn);
}

static void job_run(struct loop_work *work)
{
	struct tier_job *job = container_of(work, struct tier_job, work);

	job->run(job);
}

static void job_done(struct loop_work *work)
{
	struct tier_job *job = container_of(work, struct tier_job, work);
	struct tiers *t = job->place->tiers;

	t->jobs--;
	job->place->jobs--;
	job->done(job);
	if (t->is_stopping)
		tiers_wake(t);
}

void tiers_job_start(struct tier_job *job)
{
	job->disk = job->place->disk;
	job->rc = 0;
	job->work.run = job_run;
	job->work.done = job_done;
	job->place->jobs++;
	job->place->tiers->jobs++;
	loop_work(job->place->tiers->loop, &job->work);
}

/* --- life ------------------------------------------------------------------------------------- */

static void tick(struct loop_timer *timer)
{
	struct tiers *t = container_of(timer, struct tiers, tick);

	for (uint32_t i = 0; i < t->place_count; i++)
		tiers_place_look(&t->places[i]);
	tiers_move_look(t);
	loop_timer_start(t->loop, timer, TIER_TICK_MS);
}

static int place_init(struct tiers *t, uint32_t index)
{
	const struct tier_place *from = &t->options.places[index];
	struct place *p = &t->places[index];

	p->tiers = t;
	p->index = index;
	p->dir_fd = p->tree_fd = -1;
	p->disk = from->disk;
	p->owns_disk = from->disk == NULL;
	p->bytes_max = from->bytes_max;
	p->keep_free = from->keep_free;
	p->is_memory = from->is_memory;
	p->job.place = p;
	p->directory = strdup(from->directory);
	if (p->directory == NULL)
		return -E_NOMEM;
	return policy_create(t->options.policy, p->bytes_max, &p->policy);
}

int tiers_create(const struct tiers_options *options, struct tiers **out)
{
	struct tiers *t;
	int rc = 0;

	if (options->place_count > TIER_PLACES_MAX)
		return -E_INVAL;
	for (uint32_t i = 0; i < options->place_count; i++)
		if (options->places[i].disk == NULL && options->places[i].directory[0] != '/')
			return -E_INVAL;
	t = calloc(1, sizeof *t);
	if (t == NULL)
		return -E_NOMEM;
	t->options = *options;
	t->loop = options->loop;
	t->turn.run = turn_run;
	t->tick.fn = tick;
	/* Names in filling/ that no earlier run has used. */
	loop_random(t->loop, &t->next_number, sizeof t->next_number);
	t->next_number >>= 1;
	while (rc == 0 && t->place_count < options->place_count)
		rc = place_init(t, t->place_count++);
	t->options.places = NULL;
	if (rc < 0) {
		tiers_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void tiers_start(struct tiers *t)
{
	ASSERT(!t->is_started);
	t->is_started = true;
	t->is_ready = t->place_count == 0;
	for (uint32_t i = 0; i < t->place_count; i++)
		tiers_place_open(&t->places[i]);
	if (t->place_count > 0)
		loop_timer_start(t->loop, &t->tick, TIER_TICK_MS);
	tier_scrub_start(t);
}

bool tiers_is_ready(const struct tiers *t)
{
	return t->is_ready;
}

void tiers_stop(struct tiers *t, void (*done)(void *arg), void *arg)
{
	struct tier_file *f, *next;

	ASSERT(!t->is_stopping);
	t->is_stopping = true;
	t->stop_done = done;
	t->stop_arg = arg;
	loop_timer_stop(t->loop, &t->tick);
	tier_scrub_stop(t);
	DL_FOREACH_SAFE2(t->all, f, next, all_next)
		tier_drop(f);
	tiers_wake(t);
}

/* A crash: who waits for something hears that it does not come, and can free what it holds. */
static void abandon(struct tiers *t)
{
	struct tier_file *f;

	tier_io_abandon(t->submitted);
	tier_io_abandon(t->flying);
	DL_FOREACH2(t->all, f, all_next) {
		tier_io_abandon(f->waiting);
		if (f->seal_done)
			f->seal_done(f->seal_arg, -E_CANCELED);
	}
}

void tiers_destroy(struct tiers *t)
{
	struct tier_file *f, *next;
	struct pin *pin, *next_pin;

	if (t == NULL)
		return;
	loop_timer_stop(t->loop, &t->tick);
	abandon(t);
	tier_scrub_finish(t);
	tiers_move_finish(t);
	HASH_CLEAR(hh, t->files);
	DL_FOREACH_SAFE2(t->all, f, next, all_next) {
		disk_close(f->handle);
		if (f->is_job_active && f->job.disk_file != f->handle)
			disk_close(f->job.disk_file);
		tier_file_forget_filling(f);
		free(f);
	}
	HASH_ITER(hh, t->pins, pin, next_pin) {
		HASH_DELETE(hh, t->pins, pin);
		free(pin);
	}
	for (uint32_t i = 0; i < t->place_count; i++)
		tiers_place_finish(&t->places[i]);
	free(t);
}

/* --- finds ------------------------------------------------------------------------------------ */

struct tier_file *tiers_find(struct tiers *t, const struct root *root)
{
	struct tier_file *f = tiers_lookup(t, root);

	if (f == NULL || f->state == TIER_FILLING || f->is_doubted)
		t->misses++;
	else
		t->hits++;
	if (f == NULL || t->is_stopping)
		return NULL;
	if (f->is_doubted) {
		tier_scrub_want(f);
		return NULL;
	}
	return tier_ref(f);
}

bool tiers_is_sealed(const struct tiers *t, const struct root *root)
{
	const struct tier_file *f = tiers_lookup(t, root);

	return f != NULL && f->state == TIER_SEALED && !f->is_doubted;
}

/* --- orders ----------------------------------------------------------------------------------- */

static bool may_evict(const struct tier_file *f)
{
	return f->state == TIER_SEALED && f->refs == 0 && !f->is_pinned;
}

int tiers_evict(struct tiers *t, const struct root *root)
{
	struct tier_file *f = tiers_lookup(t, root);

	if (f == NULL)
		return -E_NOENT;
	if (!may_evict(f))
		return -E_BUSY;
	tier_file_gone(f, false);
	return 0;
}

uint64_t tiers_evict_all(struct tiers *t)
{
	struct tier_file *f, *next;
	uint64_t bytes = 0;

	DL_FOREACH_SAFE2(t->all, f, next, all_next) {
		if (!may_evict(f))
			continue;
		bytes += f->bytes;
		tier_file_gone(f, false);
	}
	return bytes;
}

/* --- reports ---------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct tier_file *const *x = a, *const *y = b;

	return memcmp((*x)->item.key, (*y)->item.key, ROOT_BYTES);
}

static void list_one(const struct tier_file *f, struct tier_file_info *out)
{
	*out = (struct tier_file_info){
		.root = f->item.root,
		.state = f->state,
		.place = f->place->index,
		.is_pinned = f->is_pinned,
		.is_used = f->refs > 0,
		.bytes = f->bytes,
		.present_bytes = f->present_bytes,
		.uses = f->uses,
		.used_wall_ns = f->used_wall_ns,
	};
}

void tiers_list(const struct tiers *t, const struct root *after,
		bool (*fn)(void *arg, const struct tier_file_info *info), void *arg)
{
	struct tier_file **sorted, *f, *next;
	uint8_t from[ROOT_BYTES] = { 0 };
	size_t count = 0;
	bool goes_on = true;

	if (after != NULL)
		root_encode(after, from);
	sorted = calloc(HASH_COUNT(t->files) + 1, sizeof(struct tier_file *));
	if (sorted == NULL)
		return;
	HASH_ITER(hh, t->files, f, next)
		if (memcmp(f->item.key, from, ROOT_BYTES) > 0)
			sorted[count++] = f;
	qsort(sorted, count, sizeof(struct tier_file *), by_key);
	for (size_t i = 0; i < count && goes_on; i++) {
		struct tier_file_info info;

		list_one(sorted[i], &info);
		goes_on = fn(arg, &info);
	}
	free(sorted);
}

static void place_info(const struct place *p, struct tier_place_info *out)
{
	const struct tier_file *f;

	*out = (struct tier_place_info){
		.directory = p->directory,
		.is_memory = p->is_memory,
		.is_broken = p->state == PLACE_BROKEN,
		.bytes_max = p->bytes_max,
		.bytes_used = p->bytes_used,
		.keep_free = p->keep_free,
		.hits = p->hits,
		.evictions = p->evictions,
		.evicted_bytes = p->evicted_bytes,
		.promotions = p->promotions,
		.demotions = p->demotions,
		.checked_bytes = p->checked_bytes,
		.wrong = p->wrong,
	};
	memcpy(out->problem, p->problem, sizeof out->problem);
	for (f = p->tiers->files; f != NULL; f = f->hh.next) {
		if (f->place != p)
			continue;
		out->files++;
		out->bytes_pinned += f->is_pinned ? f->item.bytes : 0;
	}
}

void tiers_info(const struct tiers *t, struct tiers_info *out)
{
	*out = (struct tiers_info){
		.place_count = t->place_count,
		.hits = t->hits,
		.misses = t->misses,
		.refused = t->refused,
	};
	for (uint32_t i = 0; i < t->place_count; i++)
		place_info(&t->places[i], &out->places[i]);
}
