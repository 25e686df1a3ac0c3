/* SPDX-License-Identifier: Apache-2.0 */
/* The superblock file. */
#include "fs/disk/super.h"

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"

#define VERSION	     1u
#define UUID_BYTES   16u
#define USED_BYTES   104u	/* the rest is zero up to the checksum */
#define BODY_BYTES   (SUPER_BYTES - SEALED_CHECKSUM_BYTES)

static const char magic[] = "CAIRNFS1";

static bool is_well_formed(const struct super *s)
{
	return (s->role == SUPER_METADATA || s->role == SUPER_CHUNK) &&
	       (s->hash == HASH_SHA256 || s->hash == HASH_SHA3_256) && s->copies >= 1 &&
	       s->copies <= COPIES_MAX && s->min_copies >= 1 && s->min_copies <= s->copies;
}

void super_encode(const struct super *s, uint8_t out[SUPER_BYTES])
{
	struct wr w = wr_init(out, BODY_BYTES);

	ASSERT(is_well_formed(s) && (s->incompat & ~(uint64_t)SUPER_INCOMPAT_KNOWN) == 0);
	wr_bytes(&w, magic, 8);
	wr_u16(&w, VERSION);
	wr_u8(&w, (uint8_t)s->role);
	wr_u8(&w, (uint8_t)s->hash);
	wr_u8(&w, s->copies);
	wr_u8(&w, s->min_copies);
	wr_zeros(&w, 2);
	wr_bytes(&w, s->cluster, UUID_BYTES);
	wr_bytes(&w, s->directory, UUID_BYTES);
	wr_u64(&w, s->compat);
	wr_u64(&w, s->ro_compat);
	wr_u64(&w, s->incompat);
	wr_u64(&w, s->made_ns);
	wr_u64(&w, s->name_key);
	wr_bytes(&w, s->server, UUID_BYTES);
	ASSERT(wr_len(&w) == USED_BYTES);
	wr_zeros(&w, BODY_BYTES - USED_BYTES);
	ASSERT(wr_ok(&w) && w.at == w.end);
	sealed_finish(out, SUPER_BYTES);
}

int super_decode(const uint8_t in[SUPER_BYTES], struct super *out)
{
	struct rd r;
	int rc = sealed_open(in, SUPER_BYTES, magic, &r);

	if (rc < 0)
		return rc;
	if (rd_u16(&r) != VERSION)
		return -E_WRONG_VERSION;
	out->role = (enum super_role)rd_u8(&r);
	out->hash = (enum hash_kind)rd_u8(&r);
	out->copies = rd_u8(&r);
	out->min_copies = rd_u8(&r);
	rd_zeros(&r, 2);
	rd_bytes(&r, out->cluster, UUID_BYTES);
	rd_bytes(&r, out->directory, UUID_BYTES);
	out->compat = rd_u64(&r);
	out->ro_compat = rd_u64(&r);
	out->incompat = rd_u64(&r);
	out->made_ns = rd_u64(&r);
	out->name_key = rd_u64(&r);
	rd_bytes(&r, out->server, UUID_BYTES);
	/*
	 * Before the fields are judged: an unknown feature may give them, or the zeros, a meaning.
	 */
	if (out->incompat & ~(uint64_t)SUPER_INCOMPAT_KNOWN)
		return -E_FEATURE;
	rd_zeros(&r, BODY_BYTES - USED_BYTES);
	return rd_done(&r) && is_well_formed(out) ? 0 : -E_MALFORMED;
}
