/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a process with a bug: say what was found, let the hook print what the program
 * remembers (its trace ring), and leave a core.
 */
#include "fs/base/base.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAMES_MAX 32

static void (*panic_hook)(void);

void base_set_panic_hook(void (*hook)(void))
{
	panic_hook = hook;
}

void base_panic(const char *file, int line, const char *what)
{
	static int entered;

	/*
	 * A hook that panics, or a second thread that finds the same damage, must not hide the
	 * first.
	 */
	if (__atomic_exchange_n(&entered, 1, __ATOMIC_SEQ_CST))
		abort();

	/* stdio's locks and the heap may be what is broken: format on the stack, write at once. */
	char report[512];
	int len = snprintf(report, sizeof(report), "panic: %s:%d: %s\n", file, line, what);
	size_t bytes = MIN_OF((size_t)len, sizeof(report) - 1);
	ssize_t written = write(STDERR_FILENO, report, bytes);
	(void)written; /* there is nobody left to tell */

	void *frames[FRAMES_MAX];
	backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
	if (panic_hook)
		panic_hook();
	abort();
}

void *base_checked_cast(void *ptr, size_t magic_offset, uint32_t number, const char *file, int line)
{
	uint32_t found;

	if (!ptr)
		base_panic(file, line, "checked cast of NULL");
	memcpy(&found, (const char *)ptr + magic_offset, sizeof(found));
	if (found != number)
		base_panic(file, line, "checked cast: wrong magic number");
	return ptr;
}
