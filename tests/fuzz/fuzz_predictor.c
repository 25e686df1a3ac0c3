/* SPDX-License-Identifier: Apache-2.0 */
/* What a predictor kept: read, it guesses within bounds, learns on, and comes to the same again. */
#include "client/core/predict.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

static void save(const struct predictor *p, struct text *out)
{
	text_init(out, PREDICT_TEXT_BYTES_MAX);
	ASSERT(predictor_save(p, out) == 0);
}

static void text_is_a_fixed_point(struct predictor *p)
{
	struct text first, second;

	save(p, &first);
	int rc = predictor_load(p, text_chars(&first), first.len);
	ASSERT(rc == 0);
	save(p, &second);
	ASSERT(strcmp(text_chars(&first), text_chars(&second)) == 0);
	text_finish(&first);
	text_finish(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct predict_guess guesses[3];
	struct predict_stats stats;
	struct predictor *p;

	if (predictor_create(&p) < 0)
		return 0;
	if (predictor_load(p, (const char *)data, size) == 0) {
		for (unsigned hour = 0; hour < PREDICT_HOURS; hour++) {
			uint32_t count = predictor_guess(p, hour, guesses, 3);
			for (uint32_t i = 0; i < count; i++)
				ASSERT(guesses[i].chance <= 1000 &&
				       guesses[i].file_count <= PREDICT_FILES_MAX);
		}
		text_is_a_fixed_point(p);
		for (unsigned i = 0; i < 8; i++)
			ASSERT(predictor_use(p, i % 3, i + 1u, i * 100000u, i) == 0);
		text_is_a_fixed_point(p);
	} else {
		predictor_stats(p, &stats);
		ASSERT(stats.models == 0 && stats.uses == 0);
	}
	predictor_destroy(p);
	return 0;
}
