/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the chunk server share. Private to serve*.c, forward.c, heartbeat.c, meta.c,
 * repay.c, damage.c, scrub.c, reencode.c.
 *
 * Requests become jobs out of fixed tables (I11). A job owns its request until it has answered it.
 * A map row that a job works with is copied into it: the map may change meanwhile.
 */
#ifndef CAIRN_CHUNK_SERVER_SERVE_INTERNAL_H
#define CAIRN_CHUNK_SERVER_SERVE_INTERNAL_H

#include "chunk-server/content.h"
#include "chunk-server/disks.h"
#include "chunk-server/heat.h"
#include "chunk-server/serve.h"
#include "chunk-server/share.h"
#include "chunk-server/verify.h"
#include "fs/net/rpc.h"
#include "fs/placement/map.h"

#define SERVE_PUTS_MAX	 512u
#define SERVE_GETS_MAX	 1024u
#define SERVE_SYNCS_MAX	 256u
#define SERVE_HAVES_MAX	 32u
#define SERVE_METAS_MAX	 64u
#define SERVE_CHECKS_MAX 32u
#define SERVE_HEALS_MAX	 256u
#define FORWARD_MS	 1000u /* a replica that takes longer is owed the block */
#define FORWARD_PAUSE_MS 1000u /* and is not asked again for so long */

struct serve_peer; /* forward.c: another chunk server */
struct heartbeat;  /* heartbeat.c: our part in the cluster */
struct meta;	   /* meta.c: files of the metadata server */
struct repay;	   /* repay.c */
struct scrub;	   /* scrub.c */
struct reencode;   /* reencode.c */
struct damage;	   /* damage.c */
struct heal;	   /* heal.c */
struct heal_job;   /* serve_heal.c */
struct collect;	   /* collect.c */
struct mover;	   /* tier_move.c */
struct cs_media;   /* media.c */
struct put_job;	   /* serve_put.c */
struct get_job;	   /* serve_get.c */
struct sync_job;
struct have_job;   /* serve_have.c */
struct check_job;  /* serve_check.c */

struct cs_server {
	struct cs_server_options options;
	char *advertise, *name, *host, *rack, *mds; /* our copies */
	uint8_t cluster[UUID_BYTES], uuid[UUID_BYTES];
	enum hash_kind hash;
	uint8_t min_copies;

	struct cs_store *stores[DISKS_MAX]; /* as options.disks, of which those left out are gone */
	uint32_t disks_missing;		    /* left out when it started */
	struct cs_disks *disks;
	struct cs_owed *owed;
	struct cs_verifier *verifier;
	struct rpc *rpc;
	struct map *map;
	server_no number;
	uint64_t boot_id; /* a new one when a disk failed (I4) */
	uint64_t term; /* the newest of a metadata server that was heard (fence.c) */
	struct cs_content content;
	uint64_t content_told;	  /* to the metadata server, or it was when we started */
	uint64_t content_tell_ms; /* not before */
	uint64_t content_heard;	  /* by the metadata server, since we started; 0: none yet */
	/* epoch that we apply; 0: not told yet, so nothing can be put or touched */
	uint64_t collection;
	struct serve_peer *peers;
	struct heartbeat *heartbeat;
	struct meta *meta;
	struct repay *repay;
	struct scrub *scrub;
	struct reencode *reencode;
	struct damage *damage;
	struct heal *heal;
	struct cs_share share;
	struct cs_heat *heat; /* of the blocks that clients use */
	struct get_job *parked; /* of the background: they wait for its share */
	uint32_t parked_count;
	struct loop_timer parked_timer;
	struct collect *collect;
	struct cs_media *media;
	struct mover *mover; /* NULL: all disks are of one tier */

	struct put_job *puts, *puts_free;
	uint32_t client_puts, client_puts_max; /* jobs that forward */
	struct get_job *gets, *gets_free;
	struct codec_scratch *part_codec; /* to answer with a part of an encoded block */
	uint8_t *part_plain;
	struct sync_job *syncs, *syncs_free;
	struct have_job *haves, *haves_free;
	struct check_job *checks, *checks_free;
	struct heal_job *heals, *heals_free;
	uint32_t jobs; /* in use, of all kinds */

	bool is_stopping;
	struct loop_timer stop_timer;
	uint64_t stop_due_ns;
	void (*stopped)(void *arg, int rc);
	void *stopped_arg;
};

/* --- serve.c ---- */

/*
 * Something may be missing, here or at another replica, that nobody knows by name: take a new
 * content number. 0: it is stored, whatever crashes now; or why it is not.
 */
must_check int cs_serve_lost(struct cs_server *s, const char *what);
/* The content number to tell now. */
uint64_t cs_serve_tell_content(struct cs_server *s);

/* --- forward.c: the other chunk servers ---- */

/* The connection to a server that the map says is up, and that gets its work done; else NULL. */
struct rpc_peer *cs_forward_peer(struct cs_server *s, server_no server);
/*
 * The same for a server that may hold what we lack, in service or not: drained, formerly a replica.
 */
struct rpc_peer *cs_forward_source(struct cs_server *s, server_no server);
/* What came of a call to it: one that is there and takes too long is paused. */
void cs_forward_note(struct cs_server *s, server_no server, int rc);
void cs_forward_finish(struct cs_server *s);

/* --- heartbeat.c ---- */

must_check int cs_heartbeat_create(struct cs_server *s);
void cs_heartbeat_destroy(struct cs_server *s);
void cs_heartbeat_rejoin(struct cs_server *s); /* the boot id changed */
void cs_heartbeat_soon(struct cs_server *s);   /* there is news */
/* Call back once the map was asked for: rc 0, or why it could not be had. */
struct map_wait {
	void (*done)(struct map_wait *wait, int rc);
	struct map_wait *prev, *next;
};
void cs_heartbeat_map_wait(struct cs_server *s, struct map_wait *wait);
bool cs_heartbeat_is_heard(const struct cs_server *s); /* the metadata server answered lately */
/* Take a row that somebody sent us. -E_MALFORMED. */
must_check int cs_heartbeat_take_row(struct cs_server *s, pg_no pg,
				     const ProtobufCBinaryData *bytes);

/* --- serve_put.c, serve_get.c, serve_have.c ---- */

must_check int cs_serve_put_init(struct cs_server *s);
void cs_serve_put_finish(struct cs_server *s);
void cs_serve_put(struct cs_server *s, struct rpc_request *req);
/* Is a put in our hands that began under an older epoch of this placement group? */
bool cs_serve_put_is_older(const struct cs_server *s, pg_no pg, uint64_t epoch);
must_check int cs_serve_get_init(struct cs_server *s);
void cs_serve_get_finish(struct cs_server *s);
void cs_serve_get_stop(struct cs_server *s); /* what waits for its share ends */
void cs_serve_get(struct cs_server *s, struct rpc_request *req);
void cs_serve_sync(struct cs_server *s, struct rpc_request *req);
void cs_serve_where(struct cs_server *s, struct rpc_request *req);
void cs_serve_sizes(struct cs_server *s, struct rpc_request *req);
must_check int cs_serve_have_init(struct cs_server *s);
void cs_serve_have_finish(struct cs_server *s);
void cs_serve_have(struct cs_server *s, struct rpc_request *req);

must_check int cs_serve_check_init(struct cs_server *s);
void cs_serve_check_finish(struct cs_server *s);
void cs_serve_check(struct cs_server *s, struct rpc_request *req);

/* --- fence.c: metadata servers that were replaced ---- */

void cs_fence_open(struct cs_server *s);
/* May the metadata server that answers so be ours? Its term is kept, if it is newer. */
must_check bool cs_fence_admits(struct cs_server *s, const Wire__Stamp *stamp);

/* --- damage.c: records that turned out wrong ---- */

must_check int cs_damage_create(struct cs_server *s);
void cs_damage_destroy(struct cs_server *s);
bool cs_damage_is_idle(const struct cs_server *s);
/* Was a record of the block reported, and is not in quarantine yet? */
bool cs_damage_is_reported(const struct cs_server *s, const struct block_id *id);
/*
 * What lies at `place` is not the block: it is owed to ourselves, then quarantined. 0 also if that
 * is under way; -E_OVERLOADED: come back, or leave it to who finds it next; else what the owed log
 * says.
 */
int cs_damage_report(struct cs_server *s, struct cs_store *store, const struct block_id *id,
		     const struct cs_place *place);

/* --- scrub.c ---- */

must_check int cs_scrub_create(struct cs_server *s);
void cs_scrub_destroy(struct cs_server *s);
void cs_scrub_stop(struct cs_server *s);
bool cs_scrub_is_idle(const struct cs_server *s);
void cs_scrub_serve(struct cs_server *s, struct rpc_request *req);

/* --- reencode.c ---- */

must_check int cs_reencode_create(struct cs_server *s);
void cs_reencode_destroy(struct cs_server *s);
void cs_reencode_stop(struct cs_server *s);
bool cs_reencode_is_idle(const struct cs_server *s);
void cs_reencode_serve(struct cs_server *s, struct rpc_request *req);
/* How far it is, for heartbeats. */
void cs_reencode_tell(const struct cs_server *s, Wire__ReencodeStatus *out);
/* The metadata server gives us the turn for so long from `sent_ms` on; 0: it is not ours. */
void cs_reencode_turn(struct cs_server *s, uint64_t sent_ms, uint32_t turn_ms);

/* --- serve_heal.c ---- */

must_check int cs_serve_heal_init(struct cs_server *s);
void cs_serve_heal_finish(struct cs_server *s);
void cs_serve_heal(struct cs_server *s, struct rpc_request *req);

/* --- heal.c: merging the groups of which we are a replica ---- */

must_check int cs_heal_create(struct cs_server *s);
void cs_heal_destroy(struct cs_server *s);
void cs_heal_stop(struct cs_server *s);
bool cs_heal_is_idle(const struct cs_server *s);
/* A disk failed: what was merged may be lost again. */
void cs_heal_forget(struct cs_server *s);
/* Heartbeat.merged: room for HEAL_MERGED_BYTES * PG_COUNT; bytes used. */
size_t cs_heal_merged(struct cs_server *s, uint8_t *out);
uint64_t cs_heal_bytes(const struct cs_server *s); /* brought since the start */
uint64_t cs_heal_pending(const struct cs_server *s); /* blocks, as far as it knows */

/* --- meta.c ---- */

must_check int cs_meta_create(struct cs_server *s);
void cs_meta_destroy(struct cs_server *s);
bool cs_meta_is_idle(const struct cs_server *s);
void cs_meta_serve(struct cs_server *s, struct rpc_request *req);

/* --- collect.c ---- */

must_check int cs_collect_create(struct cs_server *s);
void cs_collect_stop(struct cs_server *s);
void cs_collect_destroy(struct cs_server *s);
void cs_collect_serve(struct cs_server *s, struct rpc_request *req);
void cs_collect_epoch(struct cs_server *s, uint64_t epoch); /* the metadata server told it */

/* --- media.c: what disks and processor can do ---- */

must_check int cs_media_create(struct cs_server *s);
void cs_media_stop(struct cs_server *s);
bool cs_media_is_idle(const struct cs_server *s);
void cs_media_destroy(struct cs_server *s);
/* How cold blocks of this disk are best stored: SMALL, or FAST where decoding would hold it up. */
enum codec_aim cs_media_cold_aim(const struct cs_server *s, uint32_t disk);
/* A packed MediaStatus for the heartbeat; bytes used. */
size_t cs_media_report(struct cs_server *s, uint8_t out[MEDIA_STATUS_BYTES_MAX]);

/* --- tier_move.c: blocks between disks of several tiers ---- */

struct cs_tier_stats { /* since the start */
	uint64_t blocks_down, bytes_down, blocks_up, bytes_up;
	uint64_t bytes_per_s; /* of late, both ways */
	uint64_t twins; /* blocks found on two disks, of which one was forgotten */
};
must_check int cs_tiers_create(struct cs_server *s);
void cs_tiers_stop(struct cs_server *s);
bool cs_tiers_is_idle(const struct cs_server *s);
void cs_tiers_destroy(struct cs_server *s);
/* A block was read: if it is hot it may have to come up. */
void cs_tiers_used(struct cs_server *s, const struct cs_get *get);
void cs_tiers_stats(const struct cs_server *s, struct cs_tier_stats *out);

/* --- repay.c ---- */

must_check int cs_repay_create(struct cs_server *s);
void cs_repay_destroy(struct cs_server *s);
void cs_repay_stop(struct cs_server *s);
bool cs_repay_is_idle(const struct cs_server *s);
uint64_t cs_repay_bytes(const struct cs_server *s); /* since the start */

#endif
