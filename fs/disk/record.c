/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block record. The header's own checksum makes its lengths trustworthy before anything is read
 * by them; the stored checksum finds rot without decoding; the id proves the bytes (I1).
 */
#include "fs/disk/record.h"

#include <string.h>

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"
#include "fs/hash/checksum.h"

static const char magic[] = "CRNR";

/* What holds between the fields of every record, ours and foreign. */
static bool is_well_formed(const struct record *r)
{
	if (block_id_is_zero(&r->id) || !codec_is_known(r->codec))
		return false;
	if (r->plain_len < 1 || r->plain_len > BLOCK_BYTES_MAX)
		return false;
	if (r->stored_len < 1 || r->stored_len > r->plain_len)
		return false;
	if (r->codec == CODEC_RAW && r->stored_len != r->plain_len)
		return false;
	return r->codec == CODEC_ZSTD || r->param == 0;
}

void record_encode_header(const struct record *r, uint8_t out[RECORD_HEADER_BYTES])
{
	struct wr w = wr_init(out, RECORD_HEADER_BYTES - SEALED_CHECKSUM_BYTES);

	ASSERT(is_well_formed(r));
	wr_bytes(&w, magic, 4);
	wr_u32(&w, r->stored_len);
	wr_bytes(&w, r->id.bytes, BLOCK_ID_BYTES);
	wr_u32(&w, r->plain_len);
	wr_u8(&w, r->codec);
	wr_u8(&w, r->param);
	wr_zeros(&w, 2);
	wr_u64(&w, r->checksum);
	ASSERT(wr_ok(&w) && w.at == w.end);
	sealed_finish(out, RECORD_HEADER_BYTES);
}

int record_decode_header(const uint8_t in[RECORD_HEADER_BYTES], struct record *out)
{
	struct rd r;
	int rc = sealed_open(in, RECORD_HEADER_BYTES, magic, &r);

	if (rc < 0)
		return rc;
	out->stored_len = rd_u32(&r);
	rd_bytes(&r, out->id.bytes, BLOCK_ID_BYTES);
	out->plain_len = rd_u32(&r);
	out->codec = rd_u8(&r);
	out->param = rd_u8(&r);
	rd_zeros(&r, 2);
	out->checksum = rd_u64(&r);
	return rd_done(&r) && is_well_formed(out) ? 0 : -E_MALFORMED;
}

uint32_t record_split(struct codec_scratch *s, const struct record_plan *plan,
		      uint8_t head[RECORD_HEADER_BYTES], void *stored)
{
	const struct codec_bytes plain = {plan->plain, plan->plain_len};
	uint32_t len = plan->codec.codec == CODEC_RAW
			       ? 0
			       : codec_shrink(s, &plan->codec, &plain, stored);
	struct record r = {
		.id = plan->id,
		.plain_len = plain.len,
		.stored_len = len ? len : plain.len,
		.codec = (uint8_t)(len ? plan->codec.codec : CODEC_RAW),
		.param = len ? plan->codec.param : 0,
		.checksum = len ? checksum_of(stored, len) : checksum_of(plain.bytes, plain.len),
	};

	record_encode_header(&r, head);
	return len;
}

uint32_t record_build_named(struct codec_scratch *s, const struct block_id *id, enum codec_aim aim,
			    const void *plain, uint32_t plain_len, uint8_t out[RECORD_BYTES_MAX])
{
	const struct codec_bytes bytes = {plain, plain_len};
	struct record_plan plan = {.id = *id, .plain = plain, .plain_len = plain_len};
	uint8_t *stored = out + RECORD_HEADER_BYTES;

	codec_detect(aim, &bytes, NULL, &plan.codec);
	uint32_t len = record_split(s, &plan, out, stored);
	if (len > 0)
		return RECORD_HEADER_BYTES + len;
	memcpy(stored, plain, plain_len);
	return RECORD_HEADER_BYTES + plain_len;
}

uint32_t record_build(struct codec_scratch *s, enum hash_kind hash, enum codec_aim aim,
		      const void *plain, uint32_t plain_len, uint8_t out[RECORD_BYTES_MAX])
{
	struct block_id id;

	block_id_of(hash, plain, plain_len, &id);
	return record_build_named(s, &id, aim, plain, plain_len, out);
}

int record_check(const void *bytes, size_t len, struct record *out)
{
	const uint8_t *header = bytes;

	if (len < RECORD_HEADER_BYTES)
		return -E_MALFORMED;
	int rc = record_decode_header(header, out);
	if (rc < 0)
		return rc;
	if (len != RECORD_HEADER_BYTES + (size_t)out->stored_len)
		return -E_MALFORMED;
	if (checksum_of(header + RECORD_HEADER_BYTES, out->stored_len) != out->checksum)
		return -E_CORRUPT;
	return 0;
}

static int prove_id(enum hash_kind hash, const struct record *r, const void *plain)
{
	struct block_id found;

	block_id_of(hash, plain, r->plain_len, &found);
	return block_id_equal(&found, &r->id) ? 0 : -E_CORRUPT;
}

static int decode(struct codec_scratch *s, const struct record *r, const void *bytes, void *plain)
{
	return codec_decode(s, r->codec, (const uint8_t *)bytes + RECORD_HEADER_BYTES,
			    r->stored_len, plain, r->plain_len);
}

int record_plain(struct codec_scratch *s, const void *bytes, size_t len, struct record *out,
		 void *scratch, const void **plain)
{
	int rc = record_check(bytes, len, out);

	if (rc < 0)
		return rc;
	if (out->codec == CODEC_RAW) {
		*plain = (const uint8_t *)bytes + RECORD_HEADER_BYTES;
		return 0;
	}
	*plain = scratch;
	return decode(s, out, bytes, scratch);
}

int record_prove(struct codec_scratch *s, enum hash_kind hash, const void *bytes, size_t len,
		 struct record *out, void *scratch)
{
	const void *plain;
	int rc = record_plain(s, bytes, len, out, scratch, &plain);

	return rc < 0 ? rc : prove_id(hash, out, plain);
}

int record_open(struct codec_scratch *s, enum hash_kind hash, const void *bytes, size_t len,
		bool verify_id, struct record *out, void *plain)
{
	int rc = record_check(bytes, len, out);

	if (rc == 0)
		rc = decode(s, out, bytes, plain);
	return rc < 0 || !verify_id ? rc : prove_id(hash, out, plain);
}
