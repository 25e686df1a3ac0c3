/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunk server: what is around the stores. It takes part in the cluster (join, heartbeats, the
 * map), answers PUT, HAVE, SYNC, GET, WHERE, CHECK, SCRUB, REENCODE and META_*, hands blocks on to
 * the other replicas, and repays what they missed while they were away.
 *
 * Works without the metadata server as far as it can: with the map it has, at least every GET.
 * Keeps I1 (puts are verified), I4 (boot id and generation), I8, I10 (epochs), I11 (fixed tables of
 * jobs: a full one answers -E_OVERLOADED, and clients retry).
 *
 * Everything it touches is handed in, so the simulation runs it as it is. One thread: the loop's.
 */
#ifndef CAIRN_CHUNK_SERVER_SERVE_H
#define CAIRN_CHUNK_SERVER_SERVE_H

#include "chunk-server/store.h"
#include "fs/disk/calibration.h"
#include "fs/net/net.h"

struct cs_server;

struct cs_server_disk {
	struct disk *disk; /* formatted by cs_format(), locked by the caller */
	struct rows *index;
	bool index_is_trusted; /* I15 */
	bool was_closed;       /* cleanly */
	const char *name;      /* for people; NULL: its number */
	struct media media;    /* what it is */
	uint32_t tier;	       /* 0 is the fastest; all alike: nothing moves */
	const struct calibration *calibration; /* what it can do; NULL: measured, or not known */
};

struct cs_server_options {
	struct loop *loop;
	struct net *net;
	struct buf_pool *pool;
	struct cs_server_disk disks[DISKS_MAX];
	/* 1 .. DISKS_MAX; meta/ and the owed log are on the first usable one */
	uint32_t disk_count;
	/* left out already by the caller, because of cs_server_can_leave_out() */
	uint32_t disks_missing;
	struct rows *owed;	 /* a view: any content, also none, is right */
	/*
	 * Instead of `owed`, if not NULL: open it beside the log. May be called again, for another
	 * disk.
	 */
	int (*open_owed)(void *arg, const struct disk *disk, struct rows **out, struct error *err);
	void *open_owed_arg;
	const char *listen;	 /* "HOST:PORT" */
	const char *advertise;	 /* address told to others; NULL or "": as listened on */
	const char *mds;	 /* address of the metadata server */
	const char *name;	 /* of this host, for people */
	const char *host, *rack; /* failure domains */
	uint64_t boot_id;	 /* of the process; random */
	uint64_t segment_bytes;
	uint32_t sync_ms;
	uint64_t sync_bytes;
	uint32_t full_percent;
	uint64_t scrub_period_ms;   /* 0: only when asked */
	uint64_t scrub_bytes_per_s; /* of each disk; 0: as the period needs */
	bool calibrates; /* disks and processor, in the background; else by what is handed in */
	/* of disks of several tiers (tier.h) */
	uint32_t tier_low_percent, tier_high_percent;
	uint64_t tier_bytes_per_s; /* 0: no bound */
	uint64_t cold_after_ms;	    /* what nobody used for so long is cold; 0: a week */
	bool reencode;		    /* by itself, not only when asked */
	uint64_t reencode_bytes_per_s; /* plain bytes; 0: as fast as clients leave room for */
};

/*
 * Recover the disks, listen, serve, join in the background. A disk that fails at it is left out:
 * what it holds is missing (content.h), so healing refills the others. Refused: no disk that can be
 * used, disks of several clusters or servers. disks, rows, loop, net and pool outlive the server;
 * strings are copied.
 */
must_check int cs_server_create(const struct cs_server_options *options, struct cs_server **out,
				struct error *err);
/*
 * Is this the trouble of one disk, which others serve without? Else it is a mistake, to be refused.
 */
bool cs_server_can_leave_out(int rc);
/* Is it one of those in use? Of those left out nothing may be called clean. */
bool cs_server_uses(const struct cs_server *s, const struct disk *disk);
const char *cs_server_address(const struct cs_server *s); /* with the real port */
server_no cs_server_number(const struct cs_server *s);	  /* 0: has not joined yet */
/*
 * Refuse new work, finish what is in hand, sync; stopped(arg, rc) on the loop when the server may
 * be destroyed; rc 0: all is durable, and the indexes may be kept. May be called once.
 */
void cs_server_stop(struct cs_server *s, void (*stopped)(void *arg, int rc), void *arg);
/* Also without a stop: that is a crash, as far as the disks are concerned. NULL is allowed. */
void cs_server_destroy(struct cs_server *s);

#endif
