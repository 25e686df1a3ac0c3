/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tiers of a server whose disks are of different kinds: new blocks go to the fastest, what is cold
 * moves to slower ones, what is hot comes back. Here are the rules, pure; tier_move.c moves.
 *
 * Disks of one tier share blocks as all disks of a server did before there were tiers. A server
 * whose disks are all of one tier moves nothing.
 *
 * Threads: any.
 */
#ifndef CAIRN_CHUNK_SERVER_TIER_H
#define CAIRN_CHUNK_SERVER_TIER_H

#include "chunk-server/heat.h"
#include "fs/io/media.h"

/*
 * What cs.tiers says of the disk in a directory: "auto", by the rank of its medium; "none", all in
 * one; "DIRECTORY=NUMBER", 0 is the fastest. The last that fits counts. -E_INVAL.
 */
must_check int cs_tier_of(const struct config_paths *setting, const char *directory,
			  enum media_kind kind, uint32_t *tier, struct error *err);
/* Is each entry right, and of a directory of `dirs`? -E_INVAL. */
must_check int cs_tier_check(const struct config_paths *setting, const struct config_paths *dirs,
			     struct error *err);

/* How full is it? The rules know three answers. */
enum cs_tier_fill {
	CS_TIER_ROOMY, /* what is there may stay, cold as it may be */
	CS_TIER_USED,
	CS_TIER_FULL, /* nothing new; what is not hot goes */
};
/* Live bytes from low on: used; taken ones (dead ones, those of others, too) from high on: full. */
struct cs_tier_room {
	uint64_t bytes_total, bytes_live, bytes_taken;
	uint32_t low_percent, high_percent;
};
enum cs_tier_fill cs_tier_fill(const struct cs_tier_room *room);

enum cs_tier_wish { CS_TIER_STAYS, CS_TIER_DOWN, CS_TIER_UP };
/* Of a block on a disk so full. Whether there is room elsewhere is another question. */
enum cs_tier_wish cs_tier_wish(enum cs_heat_kind heat, enum cs_tier_fill fill);

/* So many bytes a second, with a second saved up at most. Zero it. */
struct cs_tier_rate {
	uint64_t refilled_ms, credit;
};
/* May `bytes` more move now? bytes_per_s 0: always. What exceeds a second's worth may. */
must_check bool cs_tier_rate_take(struct cs_tier_rate *rate, uint64_t bytes_per_s, uint32_t bytes,
				  uint64_t now_ms);

#endif
