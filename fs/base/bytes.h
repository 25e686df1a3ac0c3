/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded cursors over bytes: the only code that reads or writes foreign formats (I8).
 * Little-endian. An overrun sets a sticky failure that is checked once, at the end; until
 * then reads yield zero and writes go nowhere. After Knot DNS's wire_ctx.
 *
 * Pure; the cursor borrows the memory. One thread.
 */
#ifndef CAIRN_FS_BASE_BYTES_H
#define CAIRN_FS_BASE_BYTES_H

#include "fs/base/base.h"

struct rd {
	const uint8_t *at;
	const uint8_t *end;
	bool failed;
};

struct rd rd_init(const void *bytes, size_t len);
uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);
void rd_bytes(struct rd *r, void *out, size_t len);	/* zeroes `out` on overrun */
const uint8_t *rd_view(struct rd *r, size_t len);	/* borrowed; NULL on overrun */
/* reserved bytes: fails unless all are zero */
void rd_zeros(struct rd *r, size_t len);
size_t rd_left(const struct rd *r);
bool rd_ok(const struct rd *r);				/* no overrun so far */
must_check bool rd_done(const struct rd *r);		/* no overrun, and nothing left */

struct wr {
	uint8_t *start;
	uint8_t *at;
	uint8_t *end;
	bool failed;
};

struct wr wr_init(void *bytes, size_t capacity);
void wr_u8(struct wr *w, uint8_t v);
void wr_u16(struct wr *w, uint16_t v);
void wr_u32(struct wr *w, uint32_t v);
void wr_u64(struct wr *w, uint64_t v);
void wr_bytes(struct wr *w, const void *bytes, size_t len);
void wr_zeros(struct wr *w, size_t len);
size_t wr_len(const struct wr *w);
must_check bool wr_ok(const struct wr *w);

/* Big-endian numbers, for keys that must sort by value. */
void wr_be64(struct wr *w, uint64_t v);
uint64_t rd_be64(struct rd *r);
void wr_be16(struct wr *w, uint16_t v);
uint16_t rd_be16(struct rd *r);
void wr_be32(struct wr *w, uint32_t v);
uint32_t rd_be32(struct rd *r);

#endif
