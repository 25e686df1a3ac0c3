/* SPDX-License-Identifier: Apache-2.0 */
/* A line that is written over. See progress_line.h. */
#include "tools/progress_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tools/progress_bar.h"

#define QUIET_MS 2000u
#define AGAIN_MS 200u

void progress_line_begin(struct progress_line *line)
{
	*line = (struct progress_line){.is_wanted = isatty(STDERR_FILENO),
				       .begun_ms = progress_bar_now_ms()};
}

bool progress_line_is_due(const struct progress_line *line)
{
	uint64_t now_ms;

	if (!line->is_wanted)
		return false;
	now_ms = progress_bar_now_ms();
	return now_ms - line->begun_ms >= QUIET_MS && now_ms - line->shown_ms >= AGAIN_MS;
}

void progress_line_write(struct progress_line *line, const char *format, ...)
{
	va_list args;

	line->shown_ms = progress_bar_now_ms();
	line->is_shown = true;
	fputc('\r', stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\033[K", stderr);
}

void progress_line_wipe(struct progress_line *line)
{
	if (line->is_shown)
		fputs("\r\033[K", stderr);
	line->is_shown = false;
}
