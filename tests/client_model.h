/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cluster without clients and the bytes of one model, for tests of what holds whole models: `w`
 * and `model` live from model_begin() to model_end().
 */
#ifndef CAIRN_TESTS_CLIENT_MODEL_H
#define CAIRN_TESTS_CLIENT_MODEL_H

#include <signal.h>
#include <stdlib.h>

#include "tests/client_tiers.h"

static struct cluster w;
static uint8_t *model;

static inline void model_begin(size_t bytes)
{
	signal(SIGPIPE, SIG_IGN);
	cluster_start(&w, 3000);
	model = malloc(bytes);
	ck_assert_ptr_nonnull(model);
	file_pattern(model, bytes, 3);
}

static inline void model_end(void)
{
	cluster_finish(&w);
	free(model);
}

#endif
