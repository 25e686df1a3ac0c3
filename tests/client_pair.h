/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two clients of one cluster, `a` and `b` of `w`, from pair_begin() to pair_end(): for tests of
 * what one of them sees of the other.
 */
#ifndef CAIRN_TESTS_CLIENT_PAIR_H
#define CAIRN_TESTS_CLIENT_PAIR_H

#include "tests/client_cluster.h"

static struct cluster w;
static struct client *a, *b;

static inline void pair_begin(void)
{
	cluster_start(&w, 3000);
	a = cluster_client(&w);
	b = cluster_client(&w);
}

static inline void pair_end(void)
{
	cluster_client_stop(&w, a);
	cluster_client_stop(&w, b);
	cluster_finish(&w);
}

#endif
