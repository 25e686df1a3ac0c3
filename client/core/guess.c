/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From opens to fills. See guess.h.
 *
 * A look: the node is idle -> the likely models -> the first file of them that is not here and was
 * not tried for this use -> its attributes -> a fill -> the next look.
 */
#include "client/core/guess.h"

#include <stdlib.h>
#include <time.h>

#include "client/core/cache_policy.h"
#include "client/core/fill.h"
#include "client/core/kept.h"
#include "client/core/node.h"
#include "client/core/shards.h"
#include "fs/base/log.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "guess"

#define HOUR_NS UINT64_C(3600000000000)

struct cl_guess {
	struct client *client;
	struct cl_guess_options options;
	struct cl_kept *kept;		/* NULL: not kept */
	struct predictor *predictor;
	struct loop_timer look, save;
	bool is_changed;		/* since it was saved */

	uint64_t seen_reads, idle_since_ns;
	uint64_t hour_begun_ns, hour_bytes;	/* of the budget */
	uint64_t rest_until_ns;			/* the last fill was faster than the budget */
	uint64_t bytes;

	/* the guess under way: files of one model, tried once for each use of another one */
	uint64_t model, model_uses;
	uint32_t file_next;
	bool is_likeliest;
	struct cl_op ask;
	struct cl_policy_ask policy;
	struct root root;		/* of the file that is asked about */
	bool is_asking;
	struct cl_fill_wait wait;
	uint64_t fill_bytes, fill_begun_ns;
};

/* --- its file --------------------------------------------------------------------------------- */

/* What is lost with a crash is a minute of habits. */
static void save(struct cl_guess *g)
{
	struct text text;

	if (!g->kept || !g->is_changed)
		return;
	g->is_changed = false;
	text_init(&text, PREDICT_TEXT_BYTES_MAX);
	if (predictor_save(g->predictor, &text) < 0)
		log_warn("no memory to keep what was learned");
	else
		cl_kept_write(g->kept, &text);
	text_finish(&text);
}

static void save_fired(struct loop_timer *timer)
{
	struct cl_guess *g = container_of(timer, struct cl_guess, save);

	save(g);
	loop_timer_start(g->client->options.loop, timer, GUESS_SAVE_MS);
}

static void load(struct cl_guess *g, const char *path)
{
	char *text;
	size_t len = 0;
	int rc = cl_kept_read(path, PREDICT_TEXT_BYTES_MAX, &text, &len);

	if (rc == 0 && text)
		rc = predictor_load(g->predictor, text, len);
	if (rc < 0)
		log_warn("'%s' cannot be used, the predictor learns anew: %s", path,
			 error_text(rc));
	free(text);
}

/* --- when ------------------------------------------------------------------------------------- */

static unsigned hour_now(const struct cl_guess *g)
{
	time_t now = (time_t)(loop_wall_ns(g->client->options.loop) / 1000000000u);
	struct tm local;

	return localtime_r(&now, &local) ? (unsigned)local.tm_hour : 0;
}

static bool other_fill(void *arg, const struct cl_fill_info *info)
{
	bool *is_busy = arg;

	*is_busy |= info->why != CL_FILL_GUESS;
	return !*is_busy;
}

static bool is_idle(struct cl_guess *g, uint64_t now_ns)
{
	struct client *c = g->client;
	uint64_t seen = c->stats.read_bytes + c->stats.write_bytes;
	bool is_busy = seen != g->seen_reads || c->dirty_bytes > 0;

	g->seen_reads = seen;
	if (!is_busy)
		cl_fill_list(c, other_fill, &is_busy);
	if (is_busy)
		g->idle_since_ns = now_ns;
	return now_ns - g->idle_since_ns >= g->options.idle_ms * UINT64_C(1000000);
}

static bool is_affordable(struct cl_guess *g, uint64_t bytes, uint64_t now_ns)
{
	if (now_ns - g->hour_begun_ns >= HOUR_NS) {
		g->hour_begun_ns = now_ns;
		g->hour_bytes = 0;
	}
	return bytes <= g->options.bytes_per_hour &&
	       g->hour_bytes <= g->options.bytes_per_hour - bytes;
}

/* Does it fit without anything leaving? */
static bool is_room_free(const struct client *c, uint64_t bytes)
{
	struct tiers_info info;

	tiers_info(c->options.tiers, &info);
	for (uint32_t i = 0; i < info.place_count; i++) {
		const struct tier_place_info *p = &info.places[i];

		if (!p->is_broken && !p->is_memory && p->bytes_used < p->bytes_max &&
		    bytes + bytes / 1024 + TIER_PIECE_BYTES <= p->bytes_max - p->bytes_used)
			return true;
	}
	return false;
}

/* So long such a fill should take. */
static uint64_t least_ns(const struct cl_guess *g, uint64_t bytes)
{
	uint64_t bytes_per_ms = g->options.bytes_per_s / 1000;

	if (g->options.bytes_per_s == 0)
		return 0;
	return bytes / MAX_OF(bytes_per_ms, 1u) * UINT64_C(1000000);
}

static bool is_used_since(const struct cl_guess *g)
{
	struct predict_stats stats;

	predictor_stats(g->predictor, &stats);
	return stats.uses != g->model_uses;
}

/* --- what ------------------------------------------------------------------------------------- */

static void fill_done(struct cl_fill_wait *wait, int rc)
{
	struct cl_guess *g = wait->arg;
	uint64_t now_ns = loop_now_ns(g->client->options.loop);

	g->rest_until_ns = g->fill_begun_ns + least_ns(g, g->fill_bytes);
	if (rc < 0) {
		log_info("gave up a guess: %s", error_text(rc));
		g->rest_until_ns = MAX_OF(g->rest_until_ns, now_ns + UINT64_C(60000000000));
		return;
	}
	g->bytes += g->fill_bytes;
	/* One that was wanted before it was here whole is no proof for or against guessing. */
	if (!is_used_since(g))
		predictor_warmed(g->predictor, g->model);
	g->is_changed = true;
}

static void policy_known(struct cl_policy_ask *ask, int rc, enum cl_cache_policy policy)
{
	struct cl_guess *g = ask->arg;

	g->is_asking = false;
	if (rc < 0 || policy == CL_CACHE_NEVER || is_used_since(g))
		return;
	g->wait = (struct cl_fill_wait){ .done = fill_done, .arg = g };
	if (cl_fill_start(g->client, &g->root, CL_FILL_GUESS, &g->wait) != 0)
		return;
	g->hour_bytes += g->root.length;
	g->fill_bytes = g->root.length;
	g->fill_begun_ns = loop_now_ns(g->client->options.loop);
}

static void asked(struct cl_op *op)
{
	struct cl_guess *g = op->user;
	struct client *c = g->client;

	g->root = op->attr.root;
	if (op->rc < 0 || !cl_fill_may(c, &g->root) ||
	    tiers_is_sealed(c->options.tiers, &g->root) ||
	    !is_affordable(g, g->root.length, loop_now_ns(c->options.loop)) ||
	    !(g->is_likeliest || is_room_free(c, g->root.length))) {
		g->is_asking = false;
		return;
	}
	g->policy = (struct cl_policy_ask){ .done = policy_known, .arg = g };
	cl_policy_ask(c, op->ino, &g->policy);
}

/* The next file of the guess under way; false: it is at its end. */
static bool guess_go_on(struct cl_guess *g, const struct predict_guess *guess)
{
	if (g->file_next == guess->file_count)
		return false;
	g->ask = (struct cl_op){ .kind = CL_GETATTR, .ino = guess->files[g->file_next++],
				 .done = asked, .user = g };
	g->is_asking = true;
	client_run(g->client, &g->ask);
	return true;
}

/* The likeliest model that was not looked at since the last use of a model. */
static void guess_next(struct cl_guess *g)
{
	struct predict_guess guesses[GUESS_MODELS];
	struct predict_stats stats;
	uint32_t count = predictor_guess(g->predictor, hour_now(g), guesses, GUESS_MODELS), i = 0;

	predictor_stats(g->predictor, &stats);
	if (stats.uses != g->model_uses) {
		g->model = 0;
		g->model_uses = stats.uses;
	}
	while (g->model && i < count && guesses[i].model != g->model)
		i++;
	if (i == count)
		return;
	if (g->model && guess_go_on(g, &guesses[i]))
		return;
	if (g->model && ++i == count)
		return;
	g->model = guesses[i].model;
	g->file_next = 0;
	g->is_likeliest = i == 0;
	(void)guess_go_on(g, &guesses[i]);
}

static void look_fired(struct loop_timer *timer)
{
	struct cl_guess *g = container_of(timer, struct cl_guess, look);
	struct client *c = g->client;
	uint64_t now_ns = loop_now_ns(c->options.loop);

	loop_timer_start(c->options.loop, timer, GUESS_LOOK_MS);
	if (is_idle(g, now_ns) && !g->is_asking && !g->wait.list && now_ns >= g->rest_until_ns &&
	    c->life == CL_RUNNING)
		guess_next(g);
}

/* --- public ----------------------------------------------------------------------------------- */

int cl_guess_create(struct client *c, const struct cl_guess_options *options, struct cl_guess **out)
{
	struct cl_guess *g = calloc(1, sizeof *g);
	int rc = g ? predictor_create(&g->predictor) : -E_NOMEM;

	if (rc == 0 && options->path)
		rc = cl_kept_create(c->options.loop, options->path, &g->kept);
	if (rc < 0) {
		if (g)
			predictor_destroy(g->predictor);
		free(g);
		return rc;
	}
	g->client = c;
	g->options = *options;
	g->look.fn = look_fired;
	g->save.fn = save_fired;
	if (options->path)
		load(g, options->path);
	*out = g;
	return 0;
}

void cl_guess_start(struct cl_guess *g)
{
	struct loop *loop = g->client->options.loop;

	g->hour_begun_ns = g->idle_since_ns = loop_now_ns(loop);
	loop_timer_start(loop, &g->look, GUESS_LOOK_MS);
	loop_timer_start(loop, &g->save, GUESS_SAVE_MS);
}

void cl_guess_stop(struct cl_guess *g)
{
	if (!g)
		return;
	loop_timer_stop(g->client->options.loop, &g->look);
	loop_timer_stop(g->client->options.loop, &g->save);
	cl_fill_cancel_wait(&g->wait);
	save(g);
}

bool cl_guess_is_busy(const struct cl_guess *g)
{
	return g && g->kept && cl_kept_is_busy(g->kept);
}

void cl_guess_destroy(struct cl_guess *g)
{
	if (!g)
		return;
	loop_timer_stop(g->client->options.loop, &g->look);
	loop_timer_stop(g->client->options.loop, &g->save);
	cl_fill_cancel_wait(&g->wait);
	cl_policy_cancel(&g->policy);
	cl_kept_destroy(g->kept);
	predictor_destroy(g->predictor);
	free(g);
}

void cl_guess_used(struct cl_guess *g, const struct cl_node *node)
{
	struct client *c = g->client;

	if (!node->name_hint)
		return;
	g->is_changed = true;
	g->idle_since_ns = loop_now_ns(c->options.loop);
	if (predictor_use(g->predictor,
			  shard_model(node->parent_hint, node->name_hint), node->ino,
			  loop_now_ms(c->options.loop), hour_now(g)) < 0)
		log_warn("no memory to learn from an open");
}

void cl_guess_info(const struct cl_guess *g, struct cl_guess_info *out)
{
	predictor_stats(g->predictor, &out->stats);
	out->bytes = g->bytes;
	out->is_filling = g->wait.list != NULL;
}
