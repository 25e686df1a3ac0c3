/* SPDX-License-Identifier: Apache-2.0 */
/* Flags of a thread, from /proc; see task.h. */
#include "client/fuse/task.h"

#include <stdio.h>
#include <string.h>

unsigned task_flags(int tid)
{
	char path[32], line[512];
	unsigned flags = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", tid);
	f = tid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return 0;
	const char *name_end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
	fclose(f);
	/* state ppid pgrp session tty tpgid flags; see proc(5) */
	if (!name_end || sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1)
		return 0;
	return flags;
}
