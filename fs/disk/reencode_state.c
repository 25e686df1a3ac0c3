/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of reencode_state.h. Foreign bytes are rejected (I8). */
#include "fs/disk/reencode_state.h"

#include "fs/base/bytes.h"
#include "fs/disk/sealed.h"

#define VERSION	     1u
#define FLAG_RUNNING 1u
#define FLAG_ALL     2u
#define ZERO_BYTES   16u

static const char magic[] = "CRNX";

void reencode_state_encode(const struct reencode_state *s, uint8_t out[REENCODE_STATE_BYTES])
{
	struct wr w = wr_init(out, REENCODE_STATE_BYTES - SEALED_CHECKSUM_BYTES);

	wr_bytes(&w, magic, 4);
	wr_u16(&w, VERSION);
	wr_u16(&w, (uint16_t)((s->is_running ? FLAG_RUNNING : 0) | (s->is_all ? FLAG_ALL : 0)));
	wr_u64(&w, s->pass);
	wr_u64(&w, s->segment);
	wr_u64(&w, s->began_ns);
	wr_u64(&w, s->ended_ns);
	wr_u64(&w, s->bytes);
	wr_u64(&w, s->blocks);
	wr_u64(&w, s->bytes_before);
	wr_u64(&w, s->bytes_after);
	wr_zeros(&w, ZERO_BYTES);
	ASSERT(wr_ok(&w));
	sealed_finish(out, REENCODE_STATE_BYTES);
}

int reencode_state_decode(const uint8_t in[REENCODE_STATE_BYTES], struct reencode_state *out)
{
	int rc = sealed_check(in, REENCODE_STATE_BYTES, magic);
	struct rd r = rd_init(in + 4, REENCODE_STATE_BYTES - SEALED_CHECKSUM_BYTES - 4);

	if (rc < 0)
		return rc;
	if (rd_u16(&r) != VERSION)
		return -E_WRONG_VERSION;
	uint16_t flags = rd_u16(&r);
	out->is_running = flags & FLAG_RUNNING;
	out->is_all = flags & FLAG_ALL;
	out->pass = rd_u64(&r);
	out->segment = rd_u64(&r);
	out->began_ns = rd_u64(&r);
	out->ended_ns = rd_u64(&r);
	out->bytes = rd_u64(&r);
	out->blocks = rd_u64(&r);
	out->bytes_before = rd_u64(&r);
	out->bytes_after = rd_u64(&r);
	rd_zeros(&r, ZERO_BYTES);
	return rd_done(&r) && (flags & ~(FLAG_RUNNING | FLAG_ALL)) == 0 ? 0 : -E_MALFORMED;
}
