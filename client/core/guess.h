/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Acting on the usage predictor (predict.h): it is told of every open of a large file; when the
 * node has been idle for a while (no such open, no bytes through the mount, no fill that somebody
 * wants; what the kernel reads of cached files itself is not seen) it fills what is likely to come
 * next, one file at a time, at the lowest urgency, within a budget of bytes an hour and of bytes a
 * second, which holds from file to file. What it knows is kept in a file over restarts.
 *
 * The likeliest model enters a tier as if it was read: what the policy of the tier holds dearer
 * stays. The next likely ones only take room that is free, so that no guess pushes out a better
 * one.
 *
 * A model counts as warmed once a file of it that was not here has come, before its use, so that
 * the hit rate says what guessing was good for. Loop's thread.
 */
#ifndef CAIRN_CLIENT_CORE_GUESS_H
#define CAIRN_CLIENT_CORE_GUESS_H

#include "client/core/core.h"
#include "client/core/predict.h"

#define GUESS_LOOK_MS	500u
#define GUESS_IDLE_MS	2000u		/* unless options say else */
#define GUESS_SAVE_MS	60000u
#define GUESS_MODELS	3u		/* of the likely ones, how many are looked at */

struct cl_guess;

struct cl_guess_options {
	const char *path;		/* where it is kept; NULL: not kept */
	uint64_t bytes_per_hour, bytes_per_s;
	uint32_t idle_ms;
};

must_check int cl_guess_create(struct client *c, const struct cl_guess_options *options,
			       struct cl_guess **out);
void cl_guess_start(struct cl_guess *g);		/* the session runs */
/* No guesses any more; what it knows is noted, for which a stop waits. NULL is allowed. */
void cl_guess_stop(struct cl_guess *g);
bool cl_guess_is_busy(const struct cl_guess *g);
void cl_guess_destroy(struct cl_guess *g);		/* NULL is allowed */

/* A file that can be in a tier was opened for reading. */
void cl_guess_used(struct cl_guess *g, const struct cl_node *node);

struct cl_guess_info {
	struct predict_stats stats;
	uint64_t bytes;			/* filled by guesses since the mount */
	bool is_filling;
};
void cl_guess_info(const struct cl_guess *g, struct cl_guess_info *out);

#endif
