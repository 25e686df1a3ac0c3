/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the collector share: collector.c (the cycle, from phase to phase),
 * collector_servers.c (what chunk servers are asked), collector_marks.c (marks in batches),
 * collector_walk.c (roots and walks), collector_paths.c (names of files that cannot be walked).
 */
#ifndef CAIRN_METADATA_SERVER_COLLECTOR_INTERNAL_H
#define CAIRN_METADATA_SERVER_COLLECTOR_INTERNAL_H

#include "fs/net/blocks_walk.h"
#include "metadata-server/collector.h"
#include "metadata-server/serve_internal.h"

#define COLLECTOR_WALKS		8u	/* files walked at once */
#define COLLECTOR_ROOTS		512u	/* read at once */
#define COLLECTOR_MARK_BYTES	16u	/* the first bytes of an id */
#define COLLECTOR_BATCH_MARKS	4096u
#define COLLECTOR_SEEN		(1u << 18)	/* nodes remembered as walked */
#define COLLECTOR_TEXT_BYTES	200u
#define COLLECTOR_PATH_BYTES	512u
/* a server that sweeps and does not answer for so long has failed */
#define COLLECTOR_SILENT_MS	60000u

_Static_assert(COLLECTOR_BATCH_MARKS *COLLECTOR_MARK_BYTES <= BULK_BYTES_MAX,
	       "a batch is one frame");

/*
 * Gathered and not yet answered, of one server: a batch on its way, and what a node adds meanwhile.
 */
#define COLLECTOR_MARKS_MAX	(2 * COLLECTOR_BATCH_MARKS)

struct collector_server {
	struct ms_collector *collector;
	server_no server;
	struct rpc_peer *peer;
	struct rpc_call call;
	struct loop_timer again;
	bool is_calling, is_done;	/* in this phase */
	uint64_t due_ms;		/* of what it is asked for now */
	uint64_t cycle;			/* of the last begin: a late earlier one ends the mark */
	uint64_t boot_id;		/* that it confirmed the begin under */
	uint8_t *marks;
	uint32_t mark_count, sending;
	uint64_t batches, marks_sent;
	uint64_t blocks, bytes, young, moving;
};

/* A file that cannot be walked, and one path of it. */
struct collector_named {
	inode_no ino, dir;		/* dir 0: it has no name, or none was found */
	char path[COLLECTOR_PATH_BYTES];
};

struct collector_root {
	inode_no ino;
	struct root root;
};

/* Reads roots out of a snapshot of the rows; outlives the cycle while a worker has it. */
struct collector_reader {
	struct loop_work work;
	struct ms_collector *collector;	/* NULL: nobody waits any more */
	struct loop *loop;
	struct rows_snapshot *snapshot;
	bool is_working, is_end;
	int rc;
	/* looked for at the end, if at all */
	struct collector_named named[MS_GC_UNWALKABLE_MAX];
	uint32_t named_count;
	uint32_t count;
	struct collector_root roots[COLLECTOR_ROOTS];
};

struct collector_walk {
	struct ms_collector *collector;
	inode_no ino;			/* 0: idle */
	struct blocks_walk walk;
	struct loop_timer pace;
	struct block_id node_id;	/* a node that waits for room or its turn */
	const struct node_view *node;
};

struct ms_collector {
	struct ms_server *server;
	struct loop *loop;
	/* our own address: blocks asks the metadata server for map rows */
	struct rpc_peer *self;
	struct blocks *blocks;
	uint64_t every_ms, grace_ms;
	uint64_t next_ms;		/* the next cycle by itself */
	bool wants_now, wants_dry;
	/* runs that somebody asked for, and those that have ended */
	uint64_t asked, served;

	/* the cycle */
	enum ms_collector_phase phase;
	bool is_now, is_dry, was_asked;
	uint64_t phase_due_ms;
	uint32_t raises_left;
	uint64_t raise_number;		/* of the record that has to be durable; 0: none */
	uint64_t epoch;
	uint64_t list_number;		/* sequence at which roots are listed */
	struct pg_row *rows;		/* PG_COUNT: marks go by these */
	uint64_t rows_digest, map_version;
	bool rows_changed;		/* since they were copied: begin again */
	uint32_t begins_left;
	struct collector_server *servers;	/* by rising number */
	uint32_t server_count;
	struct collector_reader *reader;
	uint32_t root_index;
	struct collector_walk walks[COLLECTOR_WALKS];
	struct block_id *seen;		/* COLLECTOR_SEEN, by hash; zero: none */
	bool is_flushing;		/* no mark comes any more */

	/* for people */
	uint64_t roots_done, roots_total, nodes, marks, started_wall_ns;
	uint64_t trash_blocks, trash_bytes, young, moving;	/* of this cycle */
	uint64_t finished_wall_ns, last_blocks, last_bytes, last_young, last_moving, cycles, failed;
	int last_rc;
	char last_text[COLLECTOR_TEXT_BYTES], waits_text[COLLECTOR_TEXT_BYTES];
	uint64_t unwalkable[MS_GC_UNWALKABLE_MAX];
	struct collector_named named[MS_GC_UNWALKABLE_MAX];
	uint32_t named_count;
	/* named; of this cycle, or the last whole one */
	uint32_t unwalkable_count, unwalkable_total;
};

/* collector.c */
/* The cycle ends here; nothing more is deleted. The collector is idle after. */
void ms_collector_fail(struct ms_collector *c, int rc, const char *format, ...) printf_like(3, 4);
/* all have answered in this phase */
void ms_collector_servers_are_done(struct ms_collector *c);
void ms_collector_marked(struct ms_collector *c);			/* every mark was taken */
/* paths of what cannot be walked are known */
void ms_collector_named(struct ms_collector *c);
uint64_t ms_collector_now_ms(const struct ms_collector *c);

/* collector_servers.c */
/* those that must take part; -E_NOMEM */
must_check int ms_collector_servers_open(struct ms_collector *c);
void ms_collector_servers_close(struct ms_collector *c);
struct collector_server *ms_collector_servers_find(struct ms_collector *c, server_no server);
/* what the phase wants, all of them */
void ms_collector_servers_ask(struct ms_collector *c, uint32_t ms);
/* best effort, no answer is waited for */
void ms_collector_servers_end(struct ms_collector *c, bool compact);
/* What a call came to: does it pass by itself? Then it is asked again until `due_ms`. */
must_check bool ms_collector_servers_may_retry(struct collector_server *cs, int rc);

/* collector_marks.c */
/* for a node's worth */
must_check bool ms_collector_marks_have_room(const struct ms_collector *c);
void ms_collector_marks_add(struct ms_collector *c, const struct block_id *id);
void ms_collector_marks_flush(struct ms_collector *c);
void ms_collector_marks_send(struct collector_server *cs);
bool ms_collector_marks_are_sent(const struct ms_collector *c);

/* collector_walk.c */
must_check int ms_collector_walk_open(struct ms_collector *c);	/* the list of roots, as of now */
void ms_collector_walk_close(struct ms_collector *c);
void ms_collector_walk_pump(struct ms_collector *c);		/* go on as far as there is room */
void ms_collector_walk_reader_free(struct collector_reader *reader);

/* collector_paths.c: then ms_collector_named() */
void ms_collector_paths_find(struct ms_collector *c);

#endif
