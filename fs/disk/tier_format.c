/* SPDX-License-Identifier: Apache-2.0 */
/* The codecs of tier_format.h. Foreign bytes are rejected (I8). */
#include "fs/disk/tier_format.h"

#include <string.h>

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"

#define VERSION		   1u
#define FLAG_CLEAN	   1u
#define STATE_ZERO_BYTES   40u
#define SUMS_HEADER_BYTES  72u
#define INDEX_HEADER_BYTES 16u
#define INDEX_ENTRY_BYTES  72u

static const char state_magic[] = "CRNT";
static const char sums_magic[] = "CRNU";
static const char index_magic[] = "CRNI";

void tier_format_state_encode(const struct tier_format_state *state,
			      uint8_t out[TIER_FORMAT_STATE_BYTES])
{
	struct wr w = wr_init(out, TIER_FORMAT_STATE_BYTES - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, state_magic, 4);
	wr_u16(&w, VERSION);
	wr_u16(&w, state->is_clean ? FLAG_CLEAN : 0);
	wr_u64(&w, state->boot_id);
	wr_zeros(&w, STATE_ZERO_BYTES);
	ASSERT(wr_ok(&w));
	sealed_finish(out, TIER_FORMAT_STATE_BYTES);
}

/* The magic, the checksum and the version; the cursor stands behind the version. */
static int open_sealed(const uint8_t *in, size_t len, const char *magic, struct rd *out)
{
	int rc = sealed_open(in, len, magic, out);

	if (rc < 0)
		return rc;
	return rd_u16(out) == VERSION ? 0 : -E_WRONG_VERSION;
}

int tier_format_state_decode(const uint8_t in[TIER_FORMAT_STATE_BYTES],
			     struct tier_format_state *out)
{
	struct rd r;
	int rc = open_sealed(in, TIER_FORMAT_STATE_BYTES, state_magic, &r);

	if (rc < 0)
		return rc;
	uint16_t flags = rd_u16(&r);
	out->is_clean = flags & FLAG_CLEAN;
	out->boot_id = rd_u64(&r);
	rd_zeros(&r, STATE_ZERO_BYTES);
	return rd_done(&r) && (flags & ~FLAG_CLEAN) == 0 ? 0 : -E_MALFORMED;
}

/* --- names ------------------------------------------------------------------------------------ */

char *tier_format_name(const struct root *root, char out[TIER_FORMAT_NAME_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[ROOT_BYTES];

	root_encode(root, bytes);
	for (uint32_t i = 0; i < ROOT_BYTES; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * ROOT_BYTES] = '\0';
	return out;
}

/* 0 .. 15, or 16 for what is no digit. */
static uint8_t digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (uint8_t)(c - '0');
	return c >= 'a' && c <= 'f' ? (uint8_t)(c - 'a' + 10) : 16;
}

/* Inline and empty content never lies in a tier. */
static bool is_tiered(const struct root *root)
{
	return root_has_blocks(root) && root->length > 0;
}

int tier_format_parse_name(const char *name, struct root *out)
{
	uint8_t bytes[ROOT_BYTES];

	if (strnlen(name, TIER_FORMAT_NAME_BYTES) != TIER_FORMAT_NAME_BYTES - 1)
		return -E_MALFORMED;
	for (uint32_t i = 0; i < ROOT_BYTES; i++) {
		uint8_t high = digit_of(name[2 * i]), low = digit_of(name[2 * i + 1]);

		if (high > 15 || low > 15)
			return -E_MALFORMED;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	if (root_decode(bytes, out) < 0 || !is_tiered(out))
		return -E_MALFORMED;
	return 0;
}

/* --- sums ------------------------------------------------------------------------------------- */

uint64_t tier_format_pieces(const struct root *root)
{
	return root->length / TIER_FORMAT_PIECE_BYTES +
	       (root->length % TIER_FORMAT_PIECE_BYTES != 0);
}

uint64_t tier_format_sums_bytes(const struct root *root)
{
	return SUMS_HEADER_BYTES + 8 * tier_format_pieces(root) + SEALED_CHECKSUM_BYTES;
}

void tier_format_sums_encode(const struct root *root, const uint64_t *sums, uint8_t *out)
{
	uint64_t len = tier_format_sums_bytes(root), count = tier_format_pieces(root);
	struct wr w = wr_init(out, len - SEALED_CHECKSUM_BYTES);
	uint8_t bytes[ROOT_BYTES];

	root_encode(root, bytes);
	wr_bytes(&w, sums_magic, 4);
	wr_u16(&w, VERSION);
	wr_u16(&w, 0);
	wr_bytes(&w, bytes, ROOT_BYTES);
	wr_u32(&w, (uint32_t)TIER_FORMAT_PIECE_BYTES);
	wr_u32(&w, 0);
	for (uint64_t i = 0; i < count; i++)
		wr_u64(&w, sums[i]);
	ASSERT(wr_ok(&w) && wr_len(&w) == len - SEALED_CHECKSUM_BYTES);
	sealed_finish(out, len);
}

int tier_format_sums_decode(const uint8_t *in, size_t len, const struct root *root, uint64_t *sums)
{
	uint64_t count = tier_format_pieces(root);
	uint8_t bytes[ROOT_BYTES];
	struct root found;
	struct rd r;
	int rc;

	if (len != tier_format_sums_bytes(root))
		return -E_MALFORMED;
	rc = open_sealed(in, len, sums_magic, &r);
	if (rc < 0)
		return rc;
	rd_zeros(&r, 2);
	rd_bytes(&r, bytes, ROOT_BYTES);
	if (root_decode(bytes, &found) < 0 || !root_equal(&found, root) ||
	    rd_u32(&r) != TIER_FORMAT_PIECE_BYTES)
		return -E_MALFORMED;
	rd_zeros(&r, 4);
	for (uint64_t i = 0; i < count; i++)
		sums[i] = rd_u64(&r);
	return rd_done(&r) ? 0 : -E_MALFORMED;
}

/* --- index ------------------------------------------------------------------------------------ */

size_t tier_format_index_bytes(uint32_t count)
{
	return INDEX_HEADER_BYTES + (size_t)count * INDEX_ENTRY_BYTES + SEALED_CHECKSUM_BYTES;
}

void tier_format_index_encode(uint32_t count,
			      void (*next)(void *arg, struct tier_format_use *out), void *arg,
			      uint8_t *out)
{
	size_t len = tier_format_index_bytes(count);
	struct wr w = wr_init(out, len - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, index_magic, 4);
	wr_u16(&w, VERSION);
	wr_u16(&w, 0);
	wr_u32(&w, count);
	wr_u32(&w, 0);
	for (uint32_t i = 0; i < count; i++) {
		struct tier_format_use use;
		uint8_t bytes[ROOT_BYTES];

		next(arg, &use);
		root_encode(&use.root, bytes);
		wr_bytes(&w, bytes, ROOT_BYTES);
		wr_u64(&w, use.uses);
		wr_u64(&w, use.used_wall_ns);
	}
	ASSERT(wr_ok(&w) && wr_len(&w) == len - SEALED_CHECKSUM_BYTES);
	sealed_finish(out, len);
}

static int use_decode(struct rd *r, struct tier_format_use *out)
{
	uint8_t bytes[ROOT_BYTES];

	rd_bytes(r, bytes, ROOT_BYTES);
	out->uses = rd_u64(r);
	out->used_wall_ns = rd_u64(r);
	return rd_ok(r) && root_decode(bytes, &out->root) == 0 && is_tiered(&out->root)
		       ? 0
		       : -E_MALFORMED;
}

/* All uses, told or only checked. */
static int uses_decode(struct rd r, uint32_t count,
		       void (*fn)(void *arg, const struct tier_format_use *use), void *arg)
{
	struct tier_format_use use;

	for (uint32_t i = 0; i < count; i++) {
		if (use_decode(&r, &use) < 0)
			return -E_MALFORMED;
		if (fn != NULL)
			fn(arg, &use);
	}
	return rd_done(&r) ? 0 : -E_MALFORMED;
}

int tier_format_index_decode(const uint8_t *in, size_t len,
			     void (*fn)(void *arg, const struct tier_format_use *use), void *arg)
{
	struct rd r;
	uint32_t count;
	int rc;

	if (len < tier_format_index_bytes(0))
		return -E_MALFORMED;
	rc = open_sealed(in, len, index_magic, &r);
	if (rc < 0)
		return rc;
	rd_zeros(&r, 2);
	count = rd_u32(&r);
	rd_zeros(&r, 4);
	if (!rd_ok(&r) || count > TIER_FORMAT_FILES_MAX || len != tier_format_index_bytes(count))
		return -E_MALFORMED;
	rc = uses_decode(r, count, NULL, NULL);
	return rc < 0 ? rc : uses_decode(r, count, fn, arg);
}
