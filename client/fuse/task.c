/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says of a thread; see task.h. */
#include "client/fuse/task.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define BIT(signo) (UINT64_C(1) << ((signo) - 1))

/* What their default action leaves running, or stops until somebody continues it: see signal(7). */
static const uint64_t harmless = BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH) |
				 BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU);

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

enum cl_signal task_signal(int tid)
{
	uint64_t pending = 0, shared = 0, blocked = 0, ignored = 0, caught = 0;
	const struct { const char *name; uint64_t *mask; } masks[] = {
		{ "SigPnd", &pending }, { "ShdPnd", &shared }, { "SigBlk", &blocked },
		{ "SigIgn", &ignored }, { "SigCgt", &caught },
	};
	char path[32], line[512];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", tid);
	f = tid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return CL_SIGNAL_CAUGHT;
	while (fgets(line, sizeof line, f))
		for (size_t i = 0; i < ARRAY_COUNT(masks); i++)
			if (strncmp(line, masks[i].name, strlen(masks[i].name)) == 0)
				(void)sscanf(line, "%*[^:]: %" SCNx64, masks[i].mask);
	fclose(f);
	pending = (pending | shared) & ~blocked & ~ignored;
	if (pending & ~caught & ~harmless)
		return CL_SIGNAL_FATAL;
	return pending & caught ? CL_SIGNAL_CAUGHT : CL_SIGNAL_NONE;
}

static unsigned long long capabilities(int tid)
{
	char path[32], line[256];
	unsigned long long effective = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", tid);
	f = tid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return 0;
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	fclose(f);
	return effective;
}

bool task_is_admin(int tid)
{
	char path[32];
	struct stat theirs, ours;

	if (!(capabilities(tid) >> CAP_SYS_ADMIN & 1))
		return false;
	snprintf(path, sizeof path, "/proc/%d/ns/user", tid);
	return stat(path, &theirs) == 0 && stat("/proc/self/ns/user", &ours) == 0 &&
	       theirs.st_ino == ours.st_ino;
}

/* "NUMBER ARG1 ARG2 ..."; "running" for a moment after it has sent its request. */
bool task_is_in_fcntl(int tid, int command)
{
	char path[32];
	long number = -1;
	unsigned long fd, got = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/syscall", tid);
	f = tid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	int fields = fscanf(f, "%ld %lx %lx", &number, &fd, &got);
	fclose(f);
	return fields == 3 && number == SYS_fcntl && got == (unsigned long)command;
}

bool task_is_in_group(int tid, unsigned gid)
{
	char path[32], *line = NULL, *at = NULL;
	bool is_found = false;
	size_t room = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", tid);
	f = tid > 0 ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	while (!at && getline(&line, &room, f) > 0)
		if (strncmp(line, "Groups:", 7) == 0)
			at = line + 7;
	for (char *end; at && !is_found; at = end) {
		unsigned long one = strtoul(at, &end, 10);

		if (end == at)
			break;
		is_found = one == gid;
	}
	free(line);
	fclose(f);
	return is_found;
}
