/* SPDX-License-Identifier: Apache-2.0 */
/* Sparse bytes. Beyond `size` all pages are zero, so growing again shows zeros. */
#include "tests/sim/sim_bytes.h"

#include <stdlib.h>
#include <string.h>

void sim_bytes_finish(struct sim_bytes *b)
{
	for (uint64_t i = 0; i < b->page_count; i++)
		free(b->pages[i]);
	free(b->pages);
	*b = (struct sim_bytes){ .size = 0 };
}

static uint8_t *page_for_write(struct sim_bytes *b, uint64_t index)
{
	if (index >= b->page_count) {
		uint64_t count = MAX_OF(index + 1, b->page_count * 2);
		b->pages = realloc(b->pages, count * sizeof *b->pages);
		ASSERT(b->pages != NULL);
		memset(b->pages + b->page_count, 0, (count - b->page_count) * sizeof *b->pages);
		b->page_count = count;
	}
	if (b->pages[index] == NULL) {
		b->pages[index] = calloc(1, SIM_PAGE_BYTES);
		ASSERT(b->pages[index] != NULL);
	}
	return b->pages[index];
}

void sim_bytes_resize(struct sim_bytes *b, uint64_t size)
{
	uint64_t first = DIV_CEIL(size, SIM_PAGE_BYTES), within = size % SIM_PAGE_BYTES;

	for (uint64_t i = first; i < b->page_count; i++) {
		free(b->pages[i]);
		b->pages[i] = NULL;
	}
	if (within > 0 && first <= b->page_count && b->pages[first - 1] != NULL)
		memset(b->pages[first - 1] + within, 0, SIM_PAGE_BYTES - within);
	b->size = size;
}

void sim_bytes_write(struct sim_bytes *b, const void *bytes, uint64_t len, uint64_t offset)
{
	const uint8_t *from = bytes;

	b->size = MAX_OF(b->size, offset + len);
	while (len > 0) {
		uint64_t within = offset % SIM_PAGE_BYTES;
		uint64_t n = MIN_OF(len, SIM_PAGE_BYTES - within);

		memcpy(page_for_write(b, offset / SIM_PAGE_BYTES) + within, from, n);
		from += n;
		offset += n;
		len -= n;
	}
}

uint64_t sim_bytes_read(const struct sim_bytes *b, void *out, uint64_t len, uint64_t offset)
{
	uint8_t *to = out;
	uint64_t done = 0;

	if (offset >= b->size)
		return 0;
	len = MIN_OF(len, b->size - offset);
	while (done < len) {
		uint64_t index = (offset + done) / SIM_PAGE_BYTES;
		uint64_t within = (offset + done) % SIM_PAGE_BYTES;
		uint64_t n = MIN_OF(len - done, SIM_PAGE_BYTES - within);

		if (index < b->page_count && b->pages[index] != NULL)
			memcpy(to + done, b->pages[index] + within, n);
		else
			memset(to + done, 0, n);
		done += n;
	}
	return len;
}
