/* SPDX-License-Identifier: Apache-2.0 */
/* A scratch folder of one test, under TMPDIR, removed with all that is in it. */
#ifndef CAIRN_TESTS_SCRATCH_H
#define CAIRN_TESTS_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

struct scratch {
	char path[256];
};

static inline void scratch_init(struct scratch *s)
{
	const char *top = getenv("TMPDIR");

	snprintf(s->path, sizeof s->path, "%s/cairn-test-XXXXXX", top != NULL ? top : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(s->path));
}

/* PATH/NAME, in one static buffer: use it before the next call. */
static inline const char *scratch_path(const struct scratch *s, const char *name)
{
	static char path[512];

	snprintf(path, sizeof path, "%s/%s", s->path, name);
	return path;
}

static inline int scratch_remove(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static inline void scratch_finish(struct scratch *s)
{
	ck_assert_int_eq(nftw(s->path, scratch_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
