/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulation of whole clusters: runs seeds, a line of verdict each; the first failure ends it.
 *
 *   sim --seed N [--trace]      one seed; --trace tells the story
 *   sim --from A --count N      many
 *   sim ... --twice             each seed twice: the traces must be equal
 */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/base/text.h"
#include "tests/sim/story.h"

struct arguments {
	uint64_t from, count;
	bool is_verbose, is_twice;
};

static char replay[80]; /* what a crash prints */

static const struct argp_option options[] = {
	{"seed", 's', "N", 0, "run this seed", 0},
	{"from", 'f', "N", 0, "run seeds from this one", 0},
	{"count", 'c', "N", 0, "so many", 0},
	{"trace", 't', NULL, 0, "tell the story", 0},
	{"twice", '2', NULL, 0, "run each seed twice and compare the traces", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;
	uint64_t number = 0;

	if ((key == 's' || key == 'f' || key == 'c') && text_parse_u64(arg, &number) < 0)
		argp_error(state, "not a number: '%s'", arg);
	switch (key) {
	case 's':
		a->from = number;
		a->count = 1;
		return 0;
	case 'f':
		a->from = number;
		return 0;
	case 'c':
		a->count = number;
		return 0;
	case 't':
		a->is_verbose = true;
		return 0;
	case '2':
		a->is_twice = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* An assertion of the program under test. */
static void on_abort(int signo)
{
	(void)signo;
	(void)fflush(stdout);
	(void)!write(STDOUT_FILENO, replay, strlen(replay));
	_exit(EXIT_FAILURE);
}

static void run(const struct arguments *a, uint64_t seed)
{
	struct story_verdict v, again;
	clock_t begun = clock();

	(void)snprintf(replay, sizeof(replay), "\nreplay: make sim SEED=%llu TRACE=1\n",
		       (unsigned long long)seed);
	printf("seed %llu: ", (unsigned long long)seed);
	(void)fflush(stdout);
	story_run(seed, a->is_verbose, &v);
	printf("good: %.1f virtual s, %llu operations (%llu doubtful), %llu faults, %llu blurred, "
	       "%llu collections, %llu copies proved, trace %016llx, %.2f s\n",
	       (double)v.virtual_ms / 1000, (unsigned long long)v.calls,
	       (unsigned long long)v.doubts, (unsigned long long)v.faults,
	       (unsigned long long)v.blurs, (unsigned long long)v.collections,
	       (unsigned long long)v.copies, (unsigned long long)v.trace,
	       (double)(clock() - begun) / CLOCKS_PER_SEC);
	(void)fflush(stdout);
	if (!a->is_twice)
		return;
	story_run(seed, false, &again);
	if (again.trace == v.trace && again.steps == v.steps)
		return;
	printf("seed %llu FAILED: the second run took another course%s", (unsigned long long)seed,
	       replay);
	exit(EXIT_FAILURE);
}

/* What all seeds did together: a load that stops doing something is seen here. */
static void print_sums(void)
{
#define SUM(metric) ((unsigned long long)METRIC_GET(metric))
	printf("%llu files in tiers, %llu of them by writing, %llu reads of them and %llu that "
	       "failed\n",
	       SUM(fills_sealed), SUM(drafts_adopted), SUM(tier_reads), SUM(tier_reads_failed));
	printf("%llu files cut by content, %llu times a writer was first; %llu bytes of new "
	       "blocks, %llu that were stored already\n",
	       SUM(files_sealed), SUM(seals_lost), SUM(seal_new_bytes), SUM(seal_shared_bytes));
	printf("%llu collections, %llu more that were in doubt and deleted nothing; %llu blocks "
	       "trashed, %llu freed\n",
	       SUM(collections), SUM(collections_failed), SUM(blocks_trashed), SUM(blocks_freed));
	printf("%llu blocks encoded anew, %llu that were dense, %llu wrongly\n",
	       SUM(reencode_blocks), SUM(reencode_dense), SUM(reencode_wrong));
#undef SUM
}

int main(int argc, char **argv)
{
	static const struct argp argp = {.options = options,
					 .parser = parse,
					 .doc = "Simulate whole cairn clusters, by seed."};
	struct arguments a = {.from = 1, .count = 1};

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (a.is_verbose)
		(void)setvbuf(stdout, NULL, _IOLBF, 0); /* in order with what is logged */
	log_init("sim", a.is_verbose ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	(void)signal(SIGABRT, on_abort);
	for (uint64_t i = 0; i < a.count; i++)
		run(&a, a.from + i);
	if (a.count > 1)
		print_sums();
	return EXIT_SUCCESS;
}
