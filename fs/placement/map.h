/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replica map: 4,096 placement-group rows and the servers they name. Owned by the metadata
 * server, cached by everyone; a row changes only with a higher epoch (I10).
 *
 * PG row, on disk and wire (little-endian, for ever):
 *   epoch u64 · state u8 · replica_count u8 · former_count u8 · zero u8 ·
 *   replicas u32[replica_count] in order · formers u32[former_count]
 * Server row: server u32 · state u8 · disks u8 · zero u16 · weight u64 (bytes) · boot id u64 ·
 *   uuid 16 · address (u16 length + text "HOST:PORT") · host (same) · rack (same)
 *
 * Pure. Threads: one writer; readers copy rows.
 */
#ifndef CAIRN_FS_PLACEMENT_MAP_H
#define CAIRN_FS_PLACEMENT_MAP_H

#include "fs/hash/block_id.h"

enum pg_state { PG_CLEAN = 1, PG_DEGRADED = 2, PG_LOST = 3 };

struct pg_row {
	uint64_t epoch;
	enum pg_state state;
	uint8_t replica_count;
	uint8_t former_count;
	server_no replicas[COPIES_MAX];	/* in order: where a reader goes first is its own choice */
	server_no formers[FORMERS_MAX];	/* may still hold what replicas lack; read last */
};

/* "suspect" gets no traffic; "down" is silent; "out" has lost its share; see man cairn(7). */
enum server_state {
	SERVER_UP = 1, SERVER_SUSPECT, SERVER_DOWN, SERVER_OUT, SERVER_DRAINED, SERVER_REMOVED
};

#define SERVER_ADDRESS_BYTES_MAX 128u
#define SERVER_DOMAIN_BYTES_MAX	 64u
#define SERVER_UUID_BYTES	 16u

struct server_row {
	server_no server;
	enum server_state state;
	uint8_t disk_count;
	uint64_t weight_bytes;		/* capacity: its share in placement */
	uint64_t boot_id;		/* of the process; changes with each start */
	uint8_t uuid[SERVER_UUID_BYTES];
	char address[SERVER_ADDRESS_BYTES_MAX];
	char host[SERVER_DOMAIN_BYTES_MAX];	/* failure domains, disk < host < rack */
	char rack[SERVER_DOMAIN_BYTES_MAX];
};

#define PG_ROW_BYTES_MAX     (12u + 4u * (COPIES_MAX + FORMERS_MAX))
#define SERVER_ROW_BYTES_MAX (40u + 6u + SERVER_ADDRESS_BYTES_MAX + 2u * SERVER_DOMAIN_BYTES_MAX)

size_t pg_row_encode(const struct pg_row *row, uint8_t out[PG_ROW_BYTES_MAX]);
must_check int pg_row_decode(const void *in, size_t len, struct pg_row *out);	/* -E_MALFORMED */
size_t server_row_encode(const struct server_row *row, uint8_t out[SERVER_ROW_BYTES_MAX]);
must_check int server_row_decode(const void *in, size_t len, struct server_row *out);
const char *server_state_name(enum server_state state);
const char *pg_state_name(enum pg_state state);

/* Is `server` among the row's replicas? */
bool pg_row_has(const struct pg_row *row, server_no server);
/* Among its former holders? Among either? */
bool pg_row_has_former(const struct pg_row *row, server_no server);
bool pg_row_names(const struct pg_row *row, server_no server);
/* Places of a row: replicas in order, then formers. */
uint32_t pg_row_place_count(const struct pg_row *row);
server_no pg_row_server_at(const struct pg_row *row, uint32_t place); /* place < the count */

/* A cached copy of the whole map. */
struct map;
must_check int map_create(struct map **out);
void map_destroy(struct map *map);
uint64_t map_version(const struct map *map);		/* one up with each change at the owner */
void map_set_version(struct map *map, uint64_t version);
const struct pg_row *map_pg(const struct map *map, pg_no pg);	/* epoch 0: not known yet */
/* Take a row if its epoch is higher than ours; true if it was taken. */
bool map_put_pg(struct map *map, pg_no pg, const struct pg_row *row);
const struct server_row *map_server(const struct map *map, server_no server);	/* NULL: unknown */
/* -E_NOMEM, -E_TOOBIG */
must_check int map_put_server(struct map *map, const struct server_row *row);
/*
 * Of the epochs of all PG rows: XXH3-64 of 4,096 x u64 little-endian. Equal ones mean equal rows
 * (I10).
 */
uint64_t map_digest(const struct map *map);
uint32_t map_server_count(const struct map *map);
/* By rising number; index < map_server_count. */
const struct server_row *map_server_at(const struct map *map, uint32_t index);

/*
 * Weighted rendezvous hashing (Thaler & Ravishankar 1998; logarithmic weights after Schindelhauer
 * & Schomaker 2005): the `copies` best servers for a PG, in order, spread over racks, then hosts,
 * then servers, as far as there are enough. Servers that are not UP or SUSPECT or DOWN get none.
 * Returns how many were found (<= copies). Adding a server moves only its share. Same result on
 * every machine: integer arithmetic only.
 */
uint32_t map_place(const struct map *map, pg_no pg, uint32_t copies, server_no out[COPIES_MAX]);

#endif
