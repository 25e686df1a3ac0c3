/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who goes first: clients. Healing, repaying and what else runs in the background may use all of a
 * server that no client uses; while clients do, it gets one turn for so many of theirs, and a
 * trickle, so that it ends in any case. A foreground that gets 1 / (1 + share) of what there is, is
 * slowed by no more than that.
 *
 * Pure: time comes with each call. Threads: one.
 */
#ifndef CAIRN_CHUNK_SERVER_SHARE_H
#define CAIRN_CHUNK_SERVER_SHARE_H

#include "fs/base/base.h"

#define CS_SHARE_WAIT_MS 5u /* who got no turn asks again after so long */

struct cs_share { /* zero it */
	uint64_t busy_until_ms; /* clients count as active until then */
	uint64_t refilled_ms;	/* the trickle was paid up to here */
	uint32_t credit;	/* in parts of a turn */
};

/* A client's request was taken. */
void cs_share_client(struct cs_share *share, uint64_t now_ms);
/* May one block be moved in the background now? */
must_check bool cs_share_take(struct cs_share *share, uint64_t now_ms);

#endif
