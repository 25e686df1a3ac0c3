/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk servers for tests of the state machine: they join with a content number, send heartbeats,
 * and report groups as merged. Over tests/ms_world.h; server n is the n-th that joined.
 */
#ifndef CAIRN_TESTS_HEAL_WORLD_H
#define CAIRN_TESTS_HEAL_WORLD_H

#include "fs/wire/heal.h"
#include "tests/ms_world.h"

#define HEAL_WORLD_SERVERS_MAX 16u

struct heal_server {
	bool is_silent;
	uint64_t blocks, content;
	uint8_t merged[PG_COUNT * HEAL_MERGED_BYTES];
	uint32_t merged_count;
};

static struct world w;
static struct heal_server servers[HEAL_WORLD_SERVERS_MAX + 1]; /* by number; 0 is none */
static server_no server_count;

static inline const struct pg_row *row_of(uint32_t pg)
{
	return map_pg(ms_state_map(w.state), (pg_no)pg);
}

static inline enum server_state state_of(server_no server)
{
	return map_server(ms_state_map(w.state), server)->state;
}

static inline struct ms_counts counts(void)
{
	struct ms_counts c;

	ms_state_counts(w.state, &c);
	return c;
}

static inline uint32_t place_of(const struct pg_row *row, server_no server)
{
	for (uint32_t i = 0; i < row->replica_count; i++)
		if (row->replicas[i] == server)
			return i;
	for (uint32_t i = 0; i < row->former_count; i++)
		if (row->formers[i] == server)
			return row->replica_count + i;
	return UINT32_MAX;
}

static inline int join(server_no server)
{
	char host[8];
	struct ms_request req = {.op = MSG_JOIN,
				 .address = "127.0.0.1:7001",
				 .host = host,
				 .rack = "r",
				 .disks = 1,
				 .bytes_total = GiB(100),
				 .boot_id = 1,
				 .content = servers[server].content};

	snprintf(host, sizeof host, "h%u", server);
	req.uuid[0] = (uint8_t)server;
	return world_rc(&w, req);
}

static inline void join_new(void)
{
	server_no server = ++server_count;

	ck_assert_uint_le(server, HEAL_WORLD_SERVERS_MAX);
	servers[server] = (struct heal_server){.content = 100 + server};
	ck_assert_int_eq(join(server), 0);
}

static inline int beat(server_no server)
{
	struct heal_server *s = &servers[server];
	struct ms_request req = {.op = MSG_HEARTBEAT,
				 .server = server,
				 .boot_id = 1,
				 .blocks = s->blocks,
				 .bytes_free = GiB(50),
				 .bytes_total = GiB(100),
				 .content = s->content,
				 .merged = s->merged,
				 .merged_count = s->merged_count,
				 .map_version = map_version(ms_state_map(w.state))};

	return world_rc(&w, req);
}

/* From its next heartbeat on this server says that it has merged these places of the group's row.
 */
static inline void tell_merged(server_no server, uint32_t pg, uint32_t sources)
{
	struct heal_server *s = &servers[server];
	struct heal_merged told = {(pg_no)pg, (uint16_t)sources, row_of(pg)->epoch};

	ck_assert_uint_lt(s->merged_count, PG_COUNT);
	heal_merged_encode(&told, s->merged + HEAL_MERGED_BYTES * s->merged_count++);
}

/* It merges all places of all its degraded groups but those that a former holder in `not` has. */
static inline void merge_all_but(server_no server, server_no not )
{
	servers[server].merged_count = 0;
	for (uint32_t pg = 0; pg < PG_COUNT; pg++) {
		const struct pg_row *row = row_of(pg);
		uint32_t place = place_of(row, not );

		if (row->state == PG_DEGRADED && pg_row_has(row, server))
			tell_merged(server, pg, place > 15 ? 0xffff : 0xffff & ~(1u << place));
	}
}

static inline void merge_all(server_no server)
{
	merge_all_but(server, 0);
}

static inline void pass(uint64_t ms)
{
	for (uint64_t at = 0; at < ms; at += 500) {
		for (server_no s = 1; s <= server_count; s++)
			if (!servers[s].is_silent)
				ck_assert_int_eq(beat(s), 0);
		world_tick(&w, 500);
		for (uint32_t i = 0; i < 8; i++)
			world_tick(&w, 0);
	}
}

static inline void heal_world_init(server_no count, uint64_t blocks)
{
	memset(servers, 0, sizeof servers);
	server_count = 0;
	world_init(&w);
	for (server_no s = 1; s <= count; s++)
		join_new();
	pass(500);
	for (server_no s = 1; s <= count; s++)
		servers[s].blocks = blocks;
	pass(500);
	ck_assert_uint_eq(counts().pgs_clean, count >= 3 ? PG_COUNT : 0);
}

static inline int set_state(server_no server, enum server_state to, bool force)
{
	return world_rc(
		&w, (struct ms_request){
			    .op = MSG_SERVER_SET, .server = server, .state = to, .force = force});
}

#endif
