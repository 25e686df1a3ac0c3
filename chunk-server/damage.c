/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that turned out wrong, whoever found them: a reader, a check, the scrub. First we owe the
 * block to ourselves, durably (where that fails the content number changes); only then the index
 * forgets it. So there is no moment at which a crash leaves us without the block and without
 * knowing that we lack it; repay.c brings it from another replica. The bytes stay where they are
 * (quarantine): compaction counts them as dead, and fsck.cairn can still look at them.
 *
 * Bounded (I11): when all slots are in use the finder is told to come back, and a reader's find is
 * left to the next one.
 */
#include "chunk-server/serve_internal.h"

#include <stdlib.h>
#include <utlist.h>

#include "fs/base/log.h"

#define LOG_MODULE "damage"

#define DAMAGE_SLOTS 64u

struct damage_slot {
	struct damage_slot *prev, *next;
	struct damage *damage;
	struct cs_store *store;
	struct block_id id;
	struct cs_place place;
	struct cs_owed_sync sync;
};

struct damage {
	struct cs_server *server;
	struct damage_slot slots[DAMAGE_SLOTS];
	struct damage_slot *free, *busy;
};

int cs_damage_create(struct cs_server *s)
{
	s->damage = calloc(1, sizeof(*s->damage));
	if (s->damage == NULL)
		return -E_NOMEM;
	s->damage->server = s;
	for (uint32_t i = 0; i < DAMAGE_SLOTS; i++) {
		s->damage->slots[i].damage = s->damage;
		DL_APPEND(s->damage->free, &s->damage->slots[i]);
	}
	return 0;
}

void cs_damage_destroy(struct cs_server *s)
{
	free(s->damage);
	s->damage = NULL;
}

bool cs_damage_is_idle(const struct cs_server *s)
{
	return s->damage->busy == NULL;
}

static void owed_is_durable(struct cs_owed_sync *sync)
{
	struct damage_slot *slot = container_of(sync, struct damage_slot, sync);
	struct damage *damage = slot->damage;

	/* If nothing can be noted the record stays known, and is found wrong again. */
	if (sync->rc == 0 ||
	    cs_serve_lost(damage->server, "cannot note a record that is wrong") == 0)
		cs_store_quarantine(slot->store, &slot->id, &slot->place);
	DL_DELETE(damage->busy, slot);
	DL_APPEND(damage->free, slot);
}

bool cs_damage_is_reported(const struct cs_server *s, const struct block_id *id)
{
	const struct damage_slot *slot;

	DL_FOREACH (s->damage->busy, slot) {
		if (block_id_equal(&slot->id, id))
			return true;
	}
	return false;
}

int cs_damage_report(struct cs_server *s, struct cs_store *store, const struct block_id *id,
		     const struct cs_place *place)
{
	struct damage_slot *slot = s->damage->free;
	char hex[BLOCK_ID_HEX_BYTES];

	if (cs_damage_is_reported(s, id))
		return 0;
	if (slot == NULL || s->number == 0)
		return -E_OVERLOADED;
	int rc = cs_owed_add(s->owed, id, s->number);
	if (rc < 0)
		rc = cs_serve_lost(s, "cannot note a record that is wrong");
	if (rc < 0)
		return rc;
	log_error("a record is wrong: quarantined, to be fetched from another replica block=%s "
		  "seg=%llu off=%llu",
		  block_id_hex(id, hex), (unsigned long long)place->segment,
		  (unsigned long long)place->offset);
	DL_DELETE(s->damage->free, slot);
	DL_APPEND(s->damage->busy, slot);
	slot->store = store;
	slot->id = *id;
	slot->place = *place;
	slot->sync = (struct cs_owed_sync){.done = owed_is_durable};
	cs_owed_sync(s->owed, &slot->sync);
	return 0;
}
