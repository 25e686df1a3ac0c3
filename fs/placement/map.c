/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replica map in memory: PG rows by number, server rows sorted by number. Placement is in
 * map_place.c. A PG row is only ever replaced by one of a higher epoch (I10).
 */
#include "fs/placement/map.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/bytes.h"
#include "fs/hash/checksum.h"

struct map {
	uint64_t version;
	struct server_row *servers;	/* by rising number */
	uint32_t server_count;
	uint32_t server_capacity;
	struct pg_row pgs[PG_COUNT];
};

int map_create(struct map **out)
{
	*out = calloc(1, sizeof **out);
	return *out ? 0 : -E_NOMEM;
}

void map_destroy(struct map *map)
{
	if (map == NULL)
		return;
	free(map->servers);
	free(map);
}

uint64_t map_version(const struct map *map)
{
	return map->version;
}

void map_set_version(struct map *map, uint64_t version)
{
	map->version = version;
}

const struct pg_row *map_pg(const struct map *map, pg_no pg)
{
	ASSERT(pg < PG_COUNT);
	return &map->pgs[pg];
}

uint64_t map_digest(const struct map *map)
{
	uint8_t bytes[PG_COUNT * 8];
	struct wr w = wr_init(bytes, sizeof bytes);

	for (uint32_t pg = 0; pg < PG_COUNT; pg++)
		wr_u64(&w, map->pgs[pg].epoch);
	ASSERT(wr_ok(&w));
	return checksum_of(bytes, sizeof bytes);
}

bool map_put_pg(struct map *map, pg_no pg, const struct pg_row *row)
{
	ASSERT(pg < PG_COUNT);
	if (row->epoch <= map->pgs[pg].epoch)
		return false;
	map->pgs[pg] = *row;
	return true;
}

/* Where `server` is, or would be inserted. */
static uint32_t server_place(const struct map *map, server_no server)
{
	uint32_t low = 0, high = map->server_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (map->servers[middle].server < server)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct server_row *map_server(const struct map *map, server_no server)
{
	uint32_t at = server_place(map, server);

	if (at == map->server_count || map->servers[at].server != server)
		return NULL;
	return &map->servers[at];
}

static int servers_reserve(struct map *map)
{
	if (map->server_count < map->server_capacity)
		return 0;
	if (map->server_count == SERVERS_MAX)
		return -E_TOOBIG;
	uint32_t capacity = MIN_OF(MAX_OF(16u, map->server_capacity * 2), SERVERS_MAX);
	struct server_row *servers = realloc(map->servers, capacity * sizeof *servers);
	if (servers == NULL)
		return -E_NOMEM;
	map->servers = servers;
	map->server_capacity = capacity;
	return 0;
}

int map_put_server(struct map *map, const struct server_row *row)
{
	uint32_t at = server_place(map, row->server);

	if (at == map->server_count || map->servers[at].server != row->server) {
		int rc = servers_reserve(map);
		if (rc < 0)
			return rc;
		memmove(map->servers + at + 1, map->servers + at,
			(map->server_count - at) * sizeof *map->servers);
		map->server_count++;
	}
	map->servers[at] = *row;
	return 0;
}

uint32_t map_server_count(const struct map *map)
{
	return map->server_count;
}

const struct server_row *map_server_at(const struct map *map, uint32_t index)
{
	ASSERT(index < map->server_count);
	return &map->servers[index];
}
