/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guesses over a whole cluster: they wait for an idle node, stay within their budget, push out
 * nothing better, are judged honestly and outlive a restart.
 */
#include "client/core/guess.h"

#include <signal.h>
#include <stdlib.h>

#include "client/core/cache_policy.h"
#include "client/core/core.h"
#include "tests/client_tiers.h"

#define MODEL_BYTES MiB(2)
#define IDLE_MS	    400u

static struct cluster w;
static struct tiers *tiers;
static struct client *c;
static uint8_t *model;
static char file[512];
static uint64_t bytes_per_hour, bytes_per_s;

static void with_guesses(struct cluster *world, struct cl_options *options)
{
	tiers_use(world, options);
	options->predicts = true;
	options->predictor_file = file;
	options->predict_idle_ms = IDLE_MS;
	options->predict_bytes_per_hour = bytes_per_hour;
	options->predict_bytes_per_s = bytes_per_s;
}

static void mount(void)
{
	tiers = tiers_make(&w, "tier", MiB(64));
	cluster_client_hook = with_guesses;
	c = cluster_client(&w);
}

static void unmount(void)
{
	cluster_client_stop(&w, c);
	tiers_end(&w, tiers);
}

static const char *name_of(unsigned number)
{
	static char name[16];
	snprintf(name, sizeof name, "model%u", number);
	return name;
}

/* Models of the cluster, none of which is in the tier. */
static void begin(unsigned count)
{
	signal(SIGPIPE, SIG_IGN);
	cluster_start(&w, 3000);
	snprintf(file, sizeof file, "%s", scratch_path(&w.scratch, "predictor"));
	bytes_per_hour = MiB(1024);
	bytes_per_s = 0;
	model = malloc(MODEL_BYTES);
	file_pattern(model, MODEL_BYTES, 5);
	cluster_client_hook = NULL;
	struct client *writer = cluster_client(&w);
	for (unsigned i = 0; i < count; i++) {
		model[0] = (uint8_t)i;
		(void)tiers_write_file(&w, writer, name_of(i), model, MODEL_BYTES);
	}
	cluster_client_stop(&w, writer);
	mount();
}

static void end(void)
{
	unmount();
	cluster_finish(&w);
	free(model);
}

static void use(unsigned number)
{
	ck_assert_int_eq(file_close(&w, c, file_open(&w, c, name_of(number), O_RDONLY)), 0);
}

static bool is_here(unsigned number)
{
	struct tier_file *f = client_tier_find(c, file_lookup(&w, c, name_of(number)));
	tier_put(f);
	return f != NULL;
}

static bool await_here(unsigned number)
{
	for (unsigned i = 0; i < 600 && !is_here(number); i++)
		cluster_run_for(&w, 10);
	return is_here(number);
}

static struct cl_guess_info info(void)
{
	struct cl_guess_info out;
	cl_guess_info(c->guess, &out);
	return out;
}

/* 0, 1, 0, 1, 0: 1 is next. */
static void learn(void)
{
	for (unsigned i = 0; i < 5; i++)
		use(i % 2);
}

START_TEST(what_followed_comes_when_the_node_is_idle)
{
	begin(2);
	learn();
	uint64_t used_ms = loop_now_ms(w.loop);
	ck_assert(await_here(1));
	ck_assert_uint_ge(loop_now_ms(w.loop) - used_ms, IDLE_MS);
	ck_assert(!is_here(0));
	cluster_run_for(&w, 20);
	ck_assert_uint_eq(info().stats.warmed, 1);
	ck_assert_uint_eq(info().bytes, MODEL_BYTES);
	ck_assert_uint_eq(info().stats.hits + info().stats.misses, 0);
	use(1);
	ck_assert_uint_eq(info().stats.hits, 1);
	end();
}
END_TEST

START_TEST(who_opens_models_is_not_idle)
{
	begin(2);
	uint64_t used_ms = loop_now_ms(w.loop), longest_ms;
	learn();
	longest_ms = loop_now_ms(w.loop) - used_ms;
	for (unsigned i = 0; i < 12; i++) {
		used_ms = loop_now_ms(w.loop);
		cluster_run_for(&w, IDLE_MS / 4);
		use(0);
		longest_ms = MAX_OF(longest_ms, loop_now_ms(w.loop) - used_ms);
	}
	if (longest_ms < IDLE_MS) {	/* else the machine stood still, and the node was idle */
		ck_assert_uint_eq(info().bytes, 0);
		ck_assert(!is_here(1));
	}
	ck_assert(await_here(1));
	end();
}
END_TEST

START_TEST(no_budget_no_guess)
{
	begin(2);
	unmount();
	bytes_per_hour = MODEL_BYTES - 1;
	mount();
	learn();
	cluster_run_for(&w, 2000);
	ck_assert(!is_here(1));
	ck_assert_uint_eq(info().stats.warmed, 0);
	end();
}
END_TEST

/* Files of one model: shards. */
START_TEST(a_slow_budget_is_a_budget)
{
	begin(2);
	unmount();
	bytes_per_s = 500000;	/* a shard in four seconds */
	mount();
	for (unsigned i = 0; i < 2; i++) {
		char name[40];
		snprintf(name, sizeof name, "s-%05u-of-00002.gguf", i + 1);
		cluster_client_hook = NULL;
		struct client *writer = cluster_client(&w);
		model[0] = (uint8_t)(100 + i);
		(void)tiers_write_file(&w, writer, name, model, MODEL_BYTES);
		cluster_client_stop(&w, writer);
	}
	for (unsigned i = 0; i < 5; i++) {
		if (i % 2) {
			struct cl_handle *h = file_open(&w, c, "s-00001-of-00002.gguf", O_RDONLY);
			ck_assert_int_eq(file_close(&w, c, h), 0);
			h = file_open(&w, c, "s-00002-of-00002.gguf", O_RDONLY);
			ck_assert_int_eq(file_close(&w, c, h), 0);
		} else {
			use(0);
		}
	}
	while (info().bytes == 0)
		cluster_run_for(&w, 10);
	cluster_run_for(&w, 2500);
	ck_assert_uint_eq(info().bytes, MODEL_BYTES);
	end();
}
END_TEST

START_TEST(folders_that_never_cache_are_left_out)
{
	begin(2);
	struct cl_op op = { .kind = CL_SETXATTR, .ino = INODE_ROOT, .name = CACHE_POLICY_XATTR,
			    .bytes = "never", .bytes_len = 5 };
	ck_assert_int_eq(cluster_op(&w, c, &op), 0);
	learn();
	cluster_run_for(&w, 2000);
	ck_assert(!is_here(1));
	ck_assert_uint_eq(info().stats.warmed, 0);
	end();
}
END_TEST

START_TEST(what_was_learned_outlives_a_restart)
{
	begin(2);
	learn();
	unmount();
	mount();
	ck_assert_uint_eq(info().stats.uses, 5);
	ck_assert(await_here(1));
	end();
}
END_TEST

START_TEST(a_client_may_die_amid_a_guess)
{
	begin(2);
	learn();
	unmount();
	for (unsigned ms = 0; ms < 4; ms++) {
		mount();
		cluster_run_for(&w, IDLE_MS + 500 + ms);
		client_destroy(c);
		tiers_end(&w, tiers);
	}
	mount();
	end();
}
END_TEST

START_TEST(a_damaged_file_is_forgotten)
{
	begin(2);
	learn();
	unmount();
	FILE *f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	fputs("{\"version\":1", f);
	fclose(f);
	mount();
	ck_assert_uint_eq(info().stats.uses, 0);
	end();
}
END_TEST

TEST_MAIN("guesses", tcase_set_timeout(tc, 60);
	  tcase_add_test(tc, what_followed_comes_when_the_node_is_idle);
	  tcase_add_test(tc, who_opens_models_is_not_idle);
	  tcase_add_test(tc, no_budget_no_guess);
	  tcase_add_test(tc, a_slow_budget_is_a_budget);
	  tcase_add_test(tc, folders_that_never_cache_are_left_out);
	  tcase_add_test(tc, what_was_learned_outlives_a_restart);
	  tcase_add_test(tc, a_client_may_die_amid_a_guess);
	  tcase_add_test(tc, a_damaged_file_is_forgotten))
