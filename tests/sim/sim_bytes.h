/* SPDX-License-Identifier: Apache-2.0 */
/* Sparse bytes in memory, for the files of a simulated disk: pages are allocated when written. */
#ifndef CAIRN_TESTS_SIM_SIM_BYTES_H
#define CAIRN_TESTS_SIM_SIM_BYTES_H

#include "fs/base/base.h"

#define SIM_PAGE_BYTES 16384u

struct sim_bytes {		/* zeroed: empty */
	uint8_t **pages;	/* NULL: zeros */
	uint64_t page_count;
	uint64_t size;
};

void sim_bytes_finish(struct sim_bytes *b);
/* what is cut off reads as zero later */
void sim_bytes_resize(struct sim_bytes *b, uint64_t size);
void sim_bytes_write(struct sim_bytes *b, const void *bytes, uint64_t len, uint64_t offset);
/* How many bytes were read: less than len only at the end. */
uint64_t sim_bytes_read(const struct sim_bytes *b, void *out, uint64_t len, uint64_t offset);

#endif
