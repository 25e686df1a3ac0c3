/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of pass_state.h. Foreign bytes are rejected (I8). */
#include "fs/disk/pass_state.h"

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"

#define VERSION	     1u
#define FLAG_RUNNING 1u
#define FLAG_OTHER   2u
#define FIELD_BYTES  72u

const struct pass_kind pass_state_scrub = {"scrub", "CRNB", 128};
const struct pass_kind pass_state_reencode = {"reencode", "CRNX", 96};

static uint32_t zero_bytes(const struct pass_kind *kind)
{
	return kind->bytes - FIELD_BYTES - SEALED_CHECKSUM_BYTES;
}

void pass_state_encode(const struct pass_kind *kind, const struct pass_state *s, uint8_t *out)
{
	struct wr w = wr_init(out, kind->bytes - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, kind->magic, 4);
	wr_u16(&w, VERSION);
	wr_u16(&w, (uint16_t)((s->is_running ? FLAG_RUNNING : 0) | (s->has_flag ? FLAG_OTHER : 0)));
	wr_u64(&w, s->pass);
	wr_u64(&w, s->segment);
	wr_u64(&w, s->began_ns);
	wr_u64(&w, s->ended_ns);
	wr_u64(&w, s->bytes);
	for (uint32_t i = 0; i < ARRAY_COUNT(s->counts); i++)
		wr_u64(&w, s->counts[i]);
	wr_zeros(&w, zero_bytes(kind));
	ASSERT(wr_ok(&w));
	sealed_finish(out, kind->bytes);
}

int pass_state_decode(const struct pass_kind *kind, const uint8_t *in, struct pass_state *out)
{
	struct rd r;
	int rc = sealed_open(in, kind->bytes, kind->magic, &r);

	if (rc < 0)
		return rc;
	if (rd_u16(&r) != VERSION)
		return -E_WRONG_VERSION;
	uint16_t flags = rd_u16(&r);
	out->is_running = flags & FLAG_RUNNING;
	out->has_flag = flags & FLAG_OTHER;
	out->pass = rd_u64(&r);
	out->segment = rd_u64(&r);
	out->began_ns = rd_u64(&r);
	out->ended_ns = rd_u64(&r);
	out->bytes = rd_u64(&r);
	for (uint32_t i = 0; i < ARRAY_COUNT(out->counts); i++)
		out->counts[i] = rd_u64(&r);
	rd_zeros(&r, zero_bytes(kind));
	return rd_done(&r) && (flags & ~(FLAG_RUNNING | FLAG_OTHER)) == 0 ? 0 : -E_MALFORMED;
}
