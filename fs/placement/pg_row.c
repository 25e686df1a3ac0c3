/* SPDX-License-Identifier: Apache-2.0 */
/* The codec of placement-group rows; the format is in map.h. Foreign bytes are rejected (I8). */
#include "fs/base/bytes.h"
#include "fs/placement/map.h"

static const char *const state_names[] = {
	[PG_CLEAN] = "clean", [PG_DEGRADED] = "degraded", [PG_LOST] = "lost",
};

const char *pg_state_name(enum pg_state state)
{
	if ((unsigned)state >= ARRAY_COUNT(state_names) || state_names[state] == NULL)
		return "unknown";
	return state_names[state];
}

size_t pg_row_encode(const struct pg_row *row, uint8_t out[PG_ROW_BYTES_MAX])
{
	struct wr w = wr_init(out, PG_ROW_BYTES_MAX);

	ASSERT(row->replica_count <= COPIES_MAX && row->former_count <= FORMERS_MAX);
	wr_u64(&w, row->epoch);
	wr_u8(&w, (uint8_t)row->state);
	wr_u8(&w, row->replica_count);
	wr_u8(&w, row->former_count);
	wr_zeros(&w, 1);
	for (uint32_t i = 0; i < row->replica_count; i++)
		wr_u32(&w, row->replicas[i]);
	for (uint32_t i = 0; i < row->former_count; i++)
		wr_u32(&w, row->formers[i]);
	ASSERT(wr_ok(&w));
	return wr_len(&w);
}

/* Real numbers, each at most once. */
static bool servers_are_sound(const server_no *servers, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (servers[i] == 0)
			return false;
		for (uint32_t j = 0; j < i; j++)
			if (servers[j] == servers[i])
				return false;
	}
	return true;
}

int pg_row_decode(const void *in, size_t len, struct pg_row *out)
{
	struct rd r = rd_init(in, len);

	*out = (struct pg_row){ .epoch = rd_u64(&r) };
	out->state = (enum pg_state)rd_u8(&r);
	out->replica_count = rd_u8(&r);
	out->former_count = rd_u8(&r);
	rd_zeros(&r, 1);
	if (!rd_ok(&r) || out->state < PG_CLEAN || out->state > PG_LOST ||
	    out->replica_count > COPIES_MAX || out->former_count > FORMERS_MAX)
		return -E_MALFORMED;
	for (uint32_t i = 0; i < out->replica_count; i++)
		out->replicas[i] = rd_u32(&r);
	for (uint32_t i = 0; i < out->former_count; i++)
		out->formers[i] = rd_u32(&r);
	if (!rd_done(&r) || !servers_are_sound(out->replicas, out->replica_count) ||
	    !servers_are_sound(out->formers, out->former_count))
		return -E_MALFORMED;
	return 0;
}

bool pg_row_has(const struct pg_row *row, server_no server)
{
	for (uint32_t i = 0; i < row->replica_count; i++)
		if (row->replicas[i] == server)
			return true;
	return false;
}

bool pg_row_has_former(const struct pg_row *row, server_no server)
{
	for (uint32_t i = 0; i < row->former_count; i++)
		if (row->formers[i] == server)
			return true;
	return false;
}

bool pg_row_names(const struct pg_row *row, server_no server)
{
	return pg_row_has(row, server) || pg_row_has_former(row, server);
}

uint32_t pg_row_place_count(const struct pg_row *row)
{
	return (uint32_t)row->replica_count + row->former_count;
}

server_no pg_row_server_at(const struct pg_row *row, uint32_t place)
{
	ASSERT(place < pg_row_place_count(row));
	return place < row->replica_count ? row->replicas[place]
					  : row->formers[place - row->replica_count];
}
