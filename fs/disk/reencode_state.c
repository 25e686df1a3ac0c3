/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of reencode_state.h. Foreign bytes are rejected (I8). */
#include "fs/disk/reencode_state.h"

#include "fs/disk/pass_state.h"

static const struct pass_kind kind = {"CRNX", REENCODE_STATE_BYTES};

void reencode_state_encode(const struct reencode_state *s, uint8_t out[REENCODE_STATE_BYTES])
{
	const struct pass_state p = {
		.is_running = s->is_running,
		.has_flag = s->is_all,
		.pass = s->pass,
		.segment = s->segment,
		.began_ns = s->began_ns,
		.ended_ns = s->ended_ns,
		.bytes = s->bytes,
		.counts = {s->blocks, s->bytes_before, s->bytes_after},
	};

	pass_state_encode(&kind, &p, out);
}

int reencode_state_decode(const uint8_t in[REENCODE_STATE_BYTES], struct reencode_state *out)
{
	struct pass_state p;
	int rc = pass_state_decode(&kind, in, &p);

	if (rc < 0)
		return rc;
	*out = (struct reencode_state){
		.is_running = p.is_running,
		.is_all = p.has_flag,
		.pass = p.pass,
		.segment = p.segment,
		.began_ns = p.began_ns,
		.ended_ns = p.ended_ns,
		.bytes = p.bytes,
		.blocks = p.counts[0],
		.bytes_before = p.counts[1],
		.bytes_after = p.counts[2],
	};
	return 0;
}
