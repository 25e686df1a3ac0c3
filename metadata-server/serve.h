/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata server: what is around the state machine. Requests of one loop turn form a batch:
 * each is stepped, its record encoded; then one journal write, one commit of the rows, and only
 * then the replies leave (early acknowledgement: written, not yet synced; each carries its number
 * and the durable one). Answers that promise durability wait for the journal's sync (I4).
 *
 * Also here: sessions and their connections, recalls, the tick, snapshots and trimming, status, the
 * map in pages, and the mover of inline content.
 *
 * Everything the server touches is handed in, so the simulation runs it as it is. One thread: the
 * loop's.
 */
#ifndef CAIRN_METADATA_SERVER_SERVE_H
#define CAIRN_METADATA_SERVER_SERVE_H

#include "fs/codec/codec.h"
#include "fs/io/disk.h"
#include "fs/net/net.h"
#include "metadata-server/step.h"

struct ms_server;

struct ms_server_options {
	struct loop *loop;
	struct net *net;
	struct buf_pool *pool;
	/* [0] the metadata directory, then further journal directories */
	struct disk **disks;
	uint32_t disk_count;
	uint32_t disks_missing;		/* configured, but not even to be opened; for the status */
	bool is_locked;			/* the caller did ms_recover_lock() */
	struct rows *rows;		/* a view: any content, also none, is right */
	uint64_t rows_bytes_max;	/* from 95 % on, only what frees is admitted; 0: no bound */
	const char *listen;		/* "HOST:PORT" */
	const char *name;		/* of this host, for people */
	uint64_t boot_id;		/* of the process; random */
	struct ms_config config;	/* copies, min_copies and name_key are the superblock's */
	uint64_t journal_file_bytes_max;
	uint64_t snapshot_bytes;	/* write a snapshot after so much journal */
	uint32_t heartbeat_ms;		/* told to chunk servers */
	uint64_t gc_ms;			/* collect garbage so often; 0: only when asked */
	uint64_t gc_grace_ms;		/* and keep it in trash so long */
	/* chunk servers that keep a copy of the metadata; 0: none */
	uint32_t metadata_copies;
	enum codec_aim aim;		/* for inline content that moves to blocks */
};

/* Recover, listen, serve. disks, rows, loop, net and pool outlive the server. */
must_check int ms_server_create(const struct ms_server_options *options, struct ms_server **out,
				struct error *err);
const char *ms_server_address(const struct ms_server *s);	/* with the real port */
/*
 * Take no more changes, finish what is in hand, sync; stopped(arg) is called on the loop when the
 * server may be destroyed and the rows are kept for the next start. May be called once.
 */
void ms_server_stop(struct ms_server *s, void (*stopped)(void *arg), void *arg);
/* Also without a stop: that is a crash, as far as the directory is concerned. NULL is allowed. */
void ms_server_destroy(struct ms_server *s);

#endif
