/* SPDX-License-Identifier: Apache-2.0 */
/* A line that is written over. See progress_bar.h. */
#include "tools/progress_bar.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/text.h"

#define QUIET_MS  2000u
#define AGAIN_MS  100u
#define BAR_CELLS 30u

uint64_t progress_bar_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void progress_bar_begin(struct progress_bar *bar)
{
	*bar = (struct progress_bar){ .begun_ms = progress_bar_now_ms() };
}

void progress_bar_wipe(struct progress_bar *bar)
{
	if (bar->is_shown)
		fprintf(stderr, "\r%79s\r", "");
	bar->is_shown = false;
}

void progress_bar_show(struct progress_bar *bar, uint64_t done, uint64_t total)
{
	char have[TEXT_BYTES_HUMAN], all[TEXT_BYTES_HUMAN], rate[TEXT_BYTES_HUMAN];
	char cells[BAR_CELLS + 1];
	uint64_t now = progress_bar_now_ms(), ms = now - bar->begun_ms;
	uint64_t whole = MAX_OF(total, 1u), part = MIN_OF(done, whole);

	if (ms < QUIET_MS || now - bar->shown_ms < AGAIN_MS || !isatty(STDERR_FILENO))
		return;
	for (unsigned i = 0; i < BAR_CELLS; i++)
		cells[i] = i < part * BAR_CELLS / whole ? '#' : '.';
	cells[BAR_CELLS] = '\0';
	fprintf(stderr, "\r[%s] %3u%%  %s of %s, %s/s  ", cells, (unsigned)(part * 100 / whole),
		text_bytes_human(have, done), text_bytes_human(all, total),
		text_bytes_human(rate, done * 1000 / ms));
	bar->is_shown = true;
	bar->shown_ms = now;
}
