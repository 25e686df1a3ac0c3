/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One place: its limits, where new content goes, what breaks and comes back.
 *
 * New content goes to the fastest place on a disk that has room as it is; if none has, something
 * leaves the last such place. Memory comes last: it is for what is used repeatedly, and so for what
 * was promoted (tiers_move.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "client/tier/tier_internal.h"
#include "fs/base/log.h"
#include "fs/base/text.h"

#define LOG_MODULE "tier"
#define NS_PER_MS  1000000u
#define CHARGE_UNIT 4096u	/* what a file's end takes on every file system that matters */

static uint64_t round_up(uint64_t bytes)
{
	return DIV_CEIL(bytes, CHARGE_UNIT) * CHARGE_UNIT;
}

uint64_t tiers_place_charge(const struct root *root)
{
	return round_up(root->length) + round_up(tier_format_sums_bytes(root));
}

/* --- breaking and coming back ----------------------------------------------------------------- */

void tiers_place_open(struct place *p)
{
	tier_scan_start(p);
}

void tiers_place_break(struct place *p, const char *what, int rc)
{
	struct tiers *t = p->tiers;
	struct tier_file *f, *next;

	if (p->state == PLACE_BROKEN)
		return;
	p->state = PLACE_BROKEN;
	p->was_broken = true;
	p->retry_ns = loop_now_ns(t->loop) + (uint64_t)TIER_RETRY_MS * NS_PER_MS;
	snprintf(p->problem, sizeof p->problem, "cannot %s: %s", what, error_text(rc));
	log_warn("a cache tier is bypassed place='%s': %s", p->directory, p->problem);
	DL_FOREACH_SAFE2(t->all, f, next, all_next)
		if (f->place == p && f->state != TIER_GONE)
			tier_file_gone(f, true);
}

void tiers_place_taken(struct place *p)
{
	static const char taken[] = "another mount uses the folder";
	bool is_news = strcmp(p->problem, taken) != 0;

	p->state = PLACE_BROKEN;
	p->retry_ns = loop_now_ns(p->tiers->loop) + (uint64_t)TIER_LOCK_MS * NS_PER_MS;
	(void)text_copy(p->problem, sizeof p->problem, taken);
	if (is_news)
		log_warn("a cache tier is bypassed place='%s': %s", p->directory, p->problem);
}

void tiers_place_failed(struct place *p, const char *what, int rc)
{
	switch (rc) {
	case -E_NOSPC:
	case -E_DQUOT:
		/* Somebody else filled it: nothing new until the next look. */
		p->bytes_free = 0;
		snprintf(p->problem, sizeof p->problem, "cannot %s: %s", what, error_text(rc));
		log_warn("a cache tier is full place='%s': %s", p->directory, p->problem);
		break;
	case -E_NOMEM:
	case -E_NFILE:
	case -E_CORRUPT:
		log_debug("cannot %s place='%s': %s", what, p->directory, error_text(rc));
		break;
	default:
		tiers_place_break(p, what, rc);
	}
}

/* --- room ------------------------------------------------------------------------------------- */

static bool may_go(const struct policy_item *item)
{
	const struct tier_file *f = container_of(item, struct tier_file, item);

	return f->state == TIER_SEALED && f->refs == 0 && !f->is_pinned;
}

bool tiers_place_has_room(const struct place *p, uint64_t bytes)
{
	uint64_t staying = p->bytes_used - p->bytes_leaving;

	return staying <= p->bytes_max && bytes <= p->bytes_max - staying &&
	       p->bytes_free + p->bytes_leaving >= p->keep_free &&
	       bytes <= p->bytes_free + p->bytes_leaving - p->keep_free;
}

void tiers_place_evict(struct tier_file *f)
{
	f->place->evictions++;
	f->place->evicted_bytes += f->bytes;
	tier_file_gone(f, false);
}

int tiers_place_make_room(struct place *p, uint64_t bytes, const struct policy_newcomer *newcomer)
{
	while (!tiers_place_has_room(p, bytes)) {
		struct policy_item *victim = policy_victim(p->policy, newcomer, may_go);

		if (victim == NULL)
			return -E_NOSPC;
		tiers_place_evict(container_of(victim, struct tier_file, item));
	}
	return 0;
}

struct tier_file *tiers_place_victim(struct place *p)
{
	const struct policy_newcomer none = { .must_enter = true };
	struct policy_item *victim = policy_victim(p->policy, &none, may_go);

	if (victim == NULL || policy_wants(p->policy, &victim->root))
		return NULL;
	return container_of(victim, struct tier_file, item);
}

void tiers_place_note_use(struct place *p, const struct root *root, uint64_t bytes)
{
	for (uint32_t i = 0; i <= p->index; i++)
		policy_use(p->tiers->places[i].policy, root, bytes);
}

/* Could it ever hold so much beside what cannot leave? */
static bool can_hold(const struct place *p, uint64_t bytes)
{
	const struct tier_file *f;
	uint64_t staying = p->bytes_used - p->bytes_leaving;
	uint64_t going = 0;

	for (f = p->tiers->files; f != NULL; f = f->hh.next)
		if (f->place == p && may_go(&f->item))
			going += f->item.bytes;
	return bytes + staying - going <= p->bytes_max &&
	       bytes + p->keep_free <= p->bytes_free + p->bytes_leaving + going;
}

int tiers_place_choose(struct tiers *t, uint64_t bytes, const struct policy_newcomer *newcomer,
		       struct place **out)
{
	struct place *last = NULL;
	bool works = false;

	for (uint32_t i = 0; i < t->place_count; i++) {
		struct place *p = &t->places[i];

		if (p->state != PLACE_READY)
			continue;
		works = true;
		if (p->file_count >= TIER_FILES_MAX || !can_hold(p, bytes))
			continue;
		if (last == NULL || last->is_memory || !p->is_memory)
			last = p;
		if (!p->is_memory && tiers_place_has_room(p, bytes))
			break;
	}
	if (last == NULL)
		return works ? -E_NOSPC : -E_NODEV;
	*out = last;
	if (newcomer->root != NULL)
		tiers_place_note_use(last, newcomer->root, bytes);
	return tiers_place_make_room(last, bytes, newcomer);
}

void tiers_place_shrink(struct place *p)
{
	const struct policy_newcomer host = { .must_enter = true };

	if (tiers_place_make_room(p, 0, &host) < 0)
		log_debug("nothing can be evicted place='%s'", p->directory);
}

/* --- looks ------------------------------------------------------------------------------------ */

/* Does the path still lead to the folder that is open? */
static int find_folder(const struct place *p)
{
	struct stat open, found;

	if (p->dir_fd < 0)
		return 0;
	if (fstat(p->dir_fd, &open) < 0 || stat(p->directory, &found) < 0)
		return error_from_errno(errno);
	return open.st_dev == found.st_dev && open.st_ino == found.st_ino ? 0 : -E_STALE;
}

static void look_run(struct tier_job *job)
{
	struct disk_space space;
	struct disk_file *state;

	job->rc = find_folder(job->place);
	if (job->rc < 0)
		return;
	/* One that was removed has no files, whatever its descriptor says. */
	job->rc = disk_open(job->disk, TIER_FORMAT_STATE_FILE, DISK_READ, &state);
	if (job->rc < 0)
		return;
	disk_close(state);
	job->rc = disk_space(job->disk, &space);
	job->bytes = space.bytes_free;
}

static void look_done(struct tier_job *job)
{
	struct place *p = job->place;

	p->is_job_active = false;
	if (p->state != PLACE_READY)
		return;
	if (job->rc < 0) {
		tiers_place_failed(p, "find the folder", job->rc);
		return;
	}
	p->problem[0] = '\0';
	p->bytes_free = job->bytes > p->bytes_unmade ? job->bytes - p->bytes_unmade : 0;
	tiers_place_shrink(p);
}

static void index_done(struct tier_job *job)
{
	struct place *p = job->place;

	p->is_job_active = false;
	free(p->uses);
	p->uses = NULL;
	if (job->rc < 0 && p->state == PLACE_READY)
		tiers_place_failed(p, "note the uses", job->rc);
}

void tiers_place_look(struct place *p)
{
	if (p->is_job_active || p->tiers->is_stopping)
		return;
	if (p->state == PLACE_BROKEN && p->jobs == 0 && p->handles == 0 &&
	    loop_now_ns(p->tiers->loop) >= p->retry_ns) {
		tiers_place_open(p);
	} else if (p->state == PLACE_READY && loop_now_ns(p->tiers->loop) >= p->index_ns &&
		   tier_index_start(p, index_done)) {
		p->index_ns += (uint64_t)TIER_INDEX_MS * NS_PER_MS;
	} else if (p->state == PLACE_READY) {
		p->is_job_active = true;
		p->job.run = look_run;
		p->job.done = look_done;
		tiers_job_start(&p->job);
	}
}

/* --- the end ---------------------------------------------------------------------------------- */

static void close_run(struct tier_job *job)
{
	const struct tiers *t = job->place->tiers;
	struct tier_format_state state = { .is_clean = true, .boot_id = t->options.boot_id };
	uint8_t bytes[TIER_FORMAT_STATE_BYTES];

	tier_index_run(job);
	/* What was removed stays so, before the folder is called clean. */
	if (job->rc == 0)
		job->rc = disk_sync_dir(job->disk, TIER_SEALED_DIR);
	if (job->rc == 0)
		job->rc = disk_sync_dir(job->disk, TIER_SUMS_DIR);
	tier_format_state_encode(&state, bytes);
	if (job->rc == 0)
		job->rc = disk_replace_file(job->disk, TIER_FORMAT_STATE_FILE, bytes, sizeof bytes);
}

static void close_done(struct tier_job *job)
{
	struct place *p = job->place;

	p->is_job_active = false;
	p->state = PLACE_CLOSED;
	free(p->uses);
	p->uses = NULL;
	if (job->rc < 0)
		log_warn("cannot close a cache tier cleanly place='%s': %s", p->directory,
			 error_text(job->rc));
}

void tiers_place_close(struct place *p)
{
	if (p->is_job_active)
		return;
	if (p->state != PLACE_READY) {
		p->state = PLACE_CLOSED;
		return;
	}
	tier_index_encode(p);
	p->is_job_active = true;
	p->job.run = close_run;
	p->job.done = close_done;
	tiers_job_start(&p->job);
}

void tiers_place_finish(struct place *p)
{
	tier_scan_free(&p->job);
	free(p->uses);
	if (p->tree_fd >= 0)
		close(p->tree_fd);
	if (p->dir_fd >= 0)
		close(p->dir_fd);
	if (p->owns_disk)
		disk_destroy(p->disk);
	policy_destroy(p->policy);
	free(p->directory);
}
