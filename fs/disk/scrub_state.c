/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of scrub_state.h. Foreign bytes are rejected (I8). */
#include "fs/disk/scrub_state.h"

#include "fs/disk/pass_state.h"

static const struct pass_kind kind = {"CRNB", SCRUB_STATE_BYTES};

void scrub_state_encode(const struct scrub_state *s, uint8_t out[SCRUB_STATE_BYTES])
{
	const struct pass_state p = {
		.is_running = s->is_running,
		.has_flag = s->is_deep,
		.pass = s->pass,
		.segment = s->segment,
		.began_ns = s->began_ns,
		.ended_ns = s->ended_ns,
		.bytes = s->bytes,
		.counts = {s->records, s->wrong, s->wrong_last},
	};

	pass_state_encode(&kind, &p, out);
}

int scrub_state_decode(const uint8_t in[SCRUB_STATE_BYTES], struct scrub_state *out)
{
	struct pass_state p;
	int rc = pass_state_decode(&kind, in, &p);

	if (rc < 0)
		return rc;
	*out = (struct scrub_state){
		.is_running = p.is_running,
		.is_deep = p.has_flag,
		.pass = p.pass,
		.segment = p.segment,
		.began_ns = p.began_ns,
		.ended_ns = p.ended_ns,
		.bytes = p.bytes,
		.records = p.counts[0],
		.wrong = p.counts[1],
		.wrong_last = p.counts[2],
	};
	return 0;
}
