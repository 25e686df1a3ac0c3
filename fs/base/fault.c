/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fault points (fault.def) and their counters. */
#include "fs/base/fault.h"

#include <string.h>

#include "fs/base/text.h"

struct point {
	const char *name;
	uint64_t first;		/* passing at which it fires, from 1; 0: not armed */
	uint64_t count;
	uint64_t passes;	/* since armed */
	uint64_t hits;
};

static struct point points[FAULT_COUNT] = {
#define X(point, text) [FAULT_##point] = {.name = #point},
#include "fs/base/fault.def"
#undef X
};

bool fault_fires(enum fault_point point)
{
	struct point *p = &points[point];

	if (p->first == 0)
		return false;
	uint64_t pass = __atomic_add_fetch(&p->passes, 1, __ATOMIC_RELAXED);
	if (pass < p->first || pass - p->first >= p->count)
		return false;
	__atomic_add_fetch(&p->hits, 1, __ATOMIC_RELAXED);
	return true;
}

void fault_arm(enum fault_point point, uint64_t first, uint64_t count)
{
	struct point *p = &points[point];

	ASSERT(point < FAULT_COUNT && first > 0);
	p->first = first;
	p->count = count;
	p->passes = 0;
	p->hits = 0;
}

void fault_disarm_all(void)
{
	for (size_t i = 0; i < FAULT_COUNT; i++)
		points[i].first = 0;
}

uint64_t fault_hits(enum fault_point point)
{
	return __atomic_load_n(&points[point].hits, __ATOMIC_RELAXED);
}

/* "NAME[:FIRST[:COUNT]]", both 1 unless given. */
static int arm_one(char *s)
{
	char *first_text = strchr(s, ':');
	char *count_text = NULL;
	uint64_t first = 1;
	uint64_t count = 1;

	if (first_text) {
		*first_text++ = '\0';
		count_text = strchr(first_text, ':');
		if (count_text)
			*count_text++ = '\0';
		if (text_parse_u64(first_text, &first) < 0 || first == 0)
			return -E_INVAL;
		if (count_text && text_parse_u64(count_text, &count) < 0)
			return -E_INVAL;
	}
	for (size_t i = 0; i < FAULT_COUNT; i++) {
		if (strcmp(points[i].name, s) != 0)
			continue;
		fault_arm((enum fault_point)i, first, count);
		return 0;
	}
	return -E_INVAL;
}

int fault_arm_text(const char *text)
{
	char copy[512];
	char *rest = NULL;

	if (!text_copy(copy, sizeof(copy), text))
		return -E_INVAL;
	for (char *s = strtok_r(copy, ",", &rest); s; s = strtok_r(NULL, ",", &rest)) {
		int rc = arm_one(s);
		if (rc < 0)
			return rc;
	}
	return 0;
}
