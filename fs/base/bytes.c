/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded cursors (I8). A failed cursor stays where it failed and never moves again, so that one
 * check at the end of a decoder is enough.
 */
#include "fs/base/bytes.h"

#include <endian.h>
#include <string.h>

/* Stands for "no bytes": pointer arithmetic on NULL is undefined, even by zero. */
static uint8_t nothing[1];

struct rd rd_init(const void *bytes, size_t len)
{
	ASSERT(bytes || len == 0);
	const uint8_t *at = bytes ? bytes : nothing;
	return (struct rd){.at = at, .end = at + len};
}

const uint8_t *rd_view(struct rd *r, size_t len)
{
	if (r->failed || len > (size_t)(r->end - r->at)) {
		r->failed = true;
		return NULL;
	}
	const uint8_t *at = r->at;
	r->at += len;
	return at;
}

void rd_bytes(struct rd *r, void *out, size_t len)
{
	const uint8_t *at = rd_view(r, len);

	if (len == 0)
		return;
	if (at)
		memcpy(out, at, len);
	else
		memset(out, 0, len);
}

uint8_t rd_u8(struct rd *r)
{
	uint8_t v;

	rd_bytes(r, &v, sizeof(v));
	return v;
}

uint16_t rd_u16(struct rd *r)
{
	uint16_t v;

	rd_bytes(r, &v, sizeof(v));
	return le16toh(v);
}

uint32_t rd_u32(struct rd *r)
{
	uint32_t v;

	rd_bytes(r, &v, sizeof(v));
	return le32toh(v);
}

uint64_t rd_u64(struct rd *r)
{
	uint64_t v;

	rd_bytes(r, &v, sizeof(v));
	return le64toh(v);
}

void rd_zeros(struct rd *r, size_t len)
{
	const uint8_t *at = rd_view(r, len);

	for (size_t i = 0; at && i < len; i++)
		if (at[i])
			r->failed = true;
}

size_t rd_left(const struct rd *r)
{
	return r->failed ? 0 : (size_t)(r->end - r->at);
}

bool rd_ok(const struct rd *r)
{
	return !r->failed;
}

bool rd_done(const struct rd *r)
{
	return !r->failed && r->at == r->end;
}

struct wr wr_init(void *bytes, size_t capacity)
{
	ASSERT(bytes || capacity == 0);
	uint8_t *at = bytes ? bytes : nothing;
	return (struct wr){.start = at, .at = at, .end = at + capacity};
}

/* Room for the next len bytes, or NULL. */
static uint8_t *take(struct wr *w, size_t len)
{
	if (w->failed || len > (size_t)(w->end - w->at)) {
		w->failed = true;
		return NULL;
	}
	uint8_t *at = w->at;
	w->at += len;
	return at;
}

void wr_bytes(struct wr *w, const void *bytes, size_t len)
{
	uint8_t *at = take(w, len);

	if (at && len)
		memcpy(at, bytes, len);
}

void wr_u8(struct wr *w, uint8_t v)
{
	wr_bytes(w, &v, sizeof(v));
}

void wr_u16(struct wr *w, uint16_t v)
{
	v = htole16(v);
	wr_bytes(w, &v, sizeof(v));
}

void wr_u32(struct wr *w, uint32_t v)
{
	v = htole32(v);
	wr_bytes(w, &v, sizeof(v));
}

void wr_u64(struct wr *w, uint64_t v)
{
	v = htole64(v);
	wr_bytes(w, &v, sizeof(v));
}

void wr_zeros(struct wr *w, size_t len)
{
	uint8_t *at = take(w, len);

	if (at && len)
		memset(at, 0, len);
}

size_t wr_len(const struct wr *w)
{
	return (size_t)(w->at - w->start);
}

bool wr_ok(const struct wr *w)
{
	return !w->failed;
}

void wr_be64(struct wr *w, uint64_t v)
{
	v = htobe64(v);
	wr_bytes(w, &v, sizeof(v));
}

uint64_t rd_be64(struct rd *r)
{
	uint64_t v;

	rd_bytes(r, &v, sizeof(v));
	return be64toh(v);
}

void wr_be16(struct wr *w, uint16_t v)
{
	v = htobe16(v);
	wr_bytes(w, &v, sizeof(v));
}

uint16_t rd_be16(struct rd *r)
{
	uint16_t v;

	rd_bytes(r, &v, sizeof(v));
	return be16toh(v);
}

void wr_be32(struct wr *w, uint32_t v)
{
	v = htobe32(v);
	wr_bytes(w, &v, sizeof(v));
}

uint32_t rd_be32(struct rd *r)
{
	uint32_t v;

	rd_bytes(r, &v, sizeof(v));
	return be32toh(v);
}
