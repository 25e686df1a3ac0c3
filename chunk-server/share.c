/* SPDX-License-Identifier: Apache-2.0 */
/* Turns of clients and of the background. */
#include "chunk-server/share.h"

#define BUSY_MS	     100u  /* after the last request of a client */
/* a background turn for so many of clients: it costs two servers more than a get */
#define TURN_PARTS   2u
#define TRICKLE_MS   10u   /* and one each so often */
#define CREDIT_TURNS 32u  /* saved up at most: those of a few waits */

static void credit_add(struct cs_share *share, uint64_t parts)
{
	share->credit = (uint32_t)MIN_OF(share->credit + parts, CREDIT_TURNS * TURN_PARTS);
}

void cs_share_client(struct cs_share *share, uint64_t now_ms)
{
	if (now_ms >= share->busy_until_ms) {
		share->credit = 0;
		share->refilled_ms = now_ms;
	}
	share->busy_until_ms = now_ms + BUSY_MS;
	credit_add(share, 1);
}

bool cs_share_take(struct cs_share *share, uint64_t now_ms)
{
	if (now_ms >= share->busy_until_ms)
		return true;
	uint64_t turns = (now_ms - share->refilled_ms) / TRICKLE_MS;
	share->refilled_ms += turns * TRICKLE_MS;
	credit_add(share, turns * TURN_PARTS);
	if (share->credit < TURN_PARTS)
		return false;
	share->credit -= TURN_PARTS;
	return true;
}
