/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The usage predictor: which model follows which on this node, and at what hour.
 *
 * A first-order Markov chain over models (counts of "B came after A", halved when they grow old),
 * mixed with how often a model is used at this hour of the day. Small on purpose: it sees tens of
 * models, not millions, must explain itself in a table, and unlearn within days.
 *
 * A model is a key of the caller's (the folder and the stem of the name, so that all shards are
 * one) with the inodes that were opened for it. Uses less than PREDICT_SAME_MS after the last one
 * of the same model are one use.
 *
 * Pure: time comes in; no I/O. Bounded (I11): the model used longest ago makes room. One thread.
 */
#ifndef CAIRN_CLIENT_CORE_PREDICT_H
#define CAIRN_CLIENT_CORE_PREDICT_H

#include "fs/base/text.h"

#define PREDICT_MODELS_MAX 512u
#define PREDICT_NEXT_MAX   8u		/* successors that are counted, of each model */
#define PREDICT_FILES_MAX  128u		/* of a model; more are not warmed */
#define PREDICT_SAME_MS	   60000u
#define PREDICT_HOURS	   24u
/* Below this chance (of 1,000) a guess is not worth the bytes. */
#define PREDICT_CHANCE_MIN 250u
#define PREDICT_TEXT_BYTES_MAX MiB(4)

struct predictor;

must_check int predictor_create(struct predictor **out);
void predictor_destroy(struct predictor *p);		/* NULL is allowed */

/* A file of a model was opened. `hour` of the local day, 0 .. 23. -E_NOMEM: not learned. */
must_check int predictor_use(struct predictor *p, uint64_t model, inode_no file, uint64_t now_ms,
			     unsigned hour);

struct predict_guess {
	uint64_t model;
	uint32_t chance;		/* of 1,000 */
	const inode_no *files;		/* valid until the next call */
	uint32_t file_count;
};
/* What is likely to be used next, best first, without the model in use; how many. */
uint32_t predictor_guess(const struct predictor *p, unsigned hour, struct predict_guess *out,
			 uint32_t max);
/* The caller has warmed it: its next use is a hit, if it comes before another model's third. */
void predictor_warmed(struct predictor *p, uint64_t model);

struct predict_stats {
	uint64_t uses, models;
	uint64_t warmed, hits, misses;	/* guesses acted upon; that came true; that did not */
};
void predictor_stats(const struct predictor *p, struct predict_stats *out);

/* What it knows as JSON text; and back: -E_MALFORMED leaves it empty. */
must_check int predictor_save(const struct predictor *p, struct text *out);
must_check int predictor_load(struct predictor *p, const char *text, size_t len);

#endif
