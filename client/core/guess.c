/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From opens to fills. See guess.h.
 *
 * A look: the node is idle -> the likely models -> the first file of them that is not here and was
 * not tried for this use -> its attributes -> a fill -> the next look.
 */
#include "client/core/guess.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/core/cache_policy.h"
#include "client/core/fill.h"
#include "client/core/node.h"
#include "client/core/shards.h"
#include "fs/base/log.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "guess"

#define HOUR_NS UINT64_C(3600000000000)

struct cl_guess {
	struct client *client;
	struct cl_guess_options options;
	char *path;
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
	bool is_worth;			/* a file of it was not here */
	struct cl_op ask;
	struct cl_policy_ask policy;
	struct root root;		/* of the file that is asked about */
	bool is_asking;
	struct cl_fill_wait wait;
	uint64_t fill_bytes, fill_begun_ns;
};

/* --- its file --------------------------------------------------------------------------------- */

static int file_write(const struct cl_guess *g, const struct text *text)
{
	char temporary[4096];
	bool ok;
	FILE *f;

	if (snprintf(temporary, sizeof temporary, "%s.new", g->path) >= (int)sizeof temporary)
		return -E_NAMETOOLONG;
	f = fopen(temporary, "we");
	if (!f)
		return error_from_errno(errno);
	ok = fwrite(text->chars, 1, text->len, f) == text->len;
	if (fclose(f) != 0 || !ok || rename(temporary, g->path) != 0) {
		(void)unlink(temporary);
		return -E_IO;
	}
	return 0;
}

/* What is lost with a crash is a minute of habits. */
static void save(struct cl_guess *g)
{
	struct text text;
	int rc;

	if (!g->path || !g->is_changed)
		return;
	text_init(&text, PREDICT_TEXT_BYTES_MAX);
	rc = predictor_save(g->predictor, &text);
	if (rc == 0)
		rc = file_write(g, &text);
	if (rc < 0)
		log_warn("cannot keep what was learned in '%s': %s", g->path, error_text(rc));
	text_finish(&text);
	g->is_changed = false;
}

static void save_fired(struct loop_timer *timer)
{
	struct cl_guess *g = container_of(timer, struct cl_guess, save);

	save(g);
	loop_timer_start(g->client->options.loop, timer, GUESS_SAVE_MS);
}

static void load(struct cl_guess *g)
{
	char *text = malloc(PREDICT_TEXT_BYTES_MAX);
	FILE *f = g->path && text ? fopen(g->path, "re") : NULL;
	size_t len;

	if (f) {
		len = fread(text, 1, PREDICT_TEXT_BYTES_MAX, f);
		if (predictor_load(g->predictor, text, len) < 0)
			log_warn("'%s' is damaged: the predictor learns anew", g->path);
		fclose(f);
	}
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
	return now_ns - g->idle_since_ns >= GUESS_IDLE_MS * UINT64_C(1000000);
}

static bool is_affordable(struct cl_guess *g, uint64_t bytes, uint64_t now_ns)
{
	if (now_ns - g->hour_begun_ns >= HOUR_NS) {
		g->hour_begun_ns = now_ns;
		g->hour_bytes = 0;
	}
	return g->hour_bytes + bytes <= g->options.bytes_per_hour;
}

/* --- what ------------------------------------------------------------------------------------- */

static void fill_done(struct cl_fill_wait *wait, int rc)
{
	struct cl_guess *g = wait->arg;
	uint64_t now_ns = loop_now_ns(g->client->options.loop);
	uint64_t mb_per_s = g->options.bytes_per_s / 1000000;
	uint64_t least_ns = mb_per_s ? g->fill_bytes * 1000 / mb_per_s : 0;

	g->rest_until_ns = g->fill_begun_ns + least_ns;
	if (rc < 0) {
		log_info("gave up a guess: %s", error_text(rc));
		g->rest_until_ns = MAX_OF(g->rest_until_ns, now_ns + UINT64_C(60000000000));
		return;
	}
	g->bytes += g->fill_bytes;
}

static void policy_known(struct cl_policy_ask *ask, enum cl_cache_policy policy)
{
	struct cl_guess *g = ask->arg;

	g->is_asking = false;
	if (policy == CL_CACHE_NEVER)
		return;
	g->wait = (struct cl_fill_wait){ .done = fill_done, .arg = g };
	if (cl_fill_start(g->client, &g->root, CL_FILL_GUESS, &g->wait) != 0)
		return;
	g->is_worth = true;
	g->hour_bytes += g->root.length;
	g->fill_bytes = g->root.length;
	g->fill_begun_ns = loop_now_ns(g->client->options.loop);
}

static void asked(struct cl_op *op)
{
	struct cl_guess *g = op->user;
	struct client *c = g->client;

	g->root = op->attr.root;
	if (op->rc < 0 || (g->root.kind != ROOT_BLOCK && g->root.kind != ROOT_NODE) ||
	    g->root.length < c->options.tier_min_bytes ||
	    tiers_is_sealed(c->options.tiers, &g->root) ||
	    !is_affordable(g, g->root.length, loop_now_ns(c->options.loop))) {
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
	client_submit(g->client, &g->ask);
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
	if (g->model && g->is_worth)
		predictor_warmed(g->predictor, g->model);
	if (g->model && ++i == count)
		return;
	g->model = guesses[i].model;
	g->file_next = 0;
	g->is_worth = false;
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

	if (rc < 0) {
		free(g);
		return rc;
	}
	g->client = c;
	g->options = *options;
	g->path = options->path ? strdup(options->path) : NULL;
	g->look.fn = look_fired;
	g->save.fn = save_fired;
	load(g);
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

void cl_guess_destroy(struct cl_guess *g)
{
	if (!g)
		return;
	save(g);
	loop_timer_stop(g->client->options.loop, &g->look);
	loop_timer_stop(g->client->options.loop, &g->save);
	cl_fill_cancel_wait(&g->wait);
	predictor_destroy(g->predictor);
	free(g->path);
	free(g);
}

void cl_guess_used(struct cl_guess *g, const struct cl_node *node)
{
	struct client *c = g->client;

	if (!node->name_hint)
		return;
	g->is_changed = true;
	if (predictor_use(g->predictor,
			  shard_model(node->parent_hint, node->name_hint), node->ino,
			  loop_wall_ns(c->options.loop) / 1000000, hour_now(g)) < 0)
		log_warn("no memory to learn from an open");
}

void cl_guess_info(const struct cl_guess *g, struct cl_guess_info *out)
{
	predictor_stats(g->predictor, &out->stats);
	out->bytes = g->bytes;
	out->is_filling = g->wait.list != NULL;
}
