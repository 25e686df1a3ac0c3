/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The overlay between ms_step() and the rows: changes are seen by later gets at once, an event's
 * changes can be dropped or become a journal record, and a batch of events reaches the rows as one
 * sorted run, each row once however often it changed.
 *
 * Threads: one.
 */
#ifndef CAIRN_METADATA_SERVER_TXN_H
#define CAIRN_METADATA_SERVER_TXN_H

#include "fs/disk/journal_record.h"
#include "fs/io/rows.h"

struct ms_txn;

must_check int ms_txn_create(struct rows *rows, struct ms_txn **out);
void ms_txn_destroy(struct ms_txn *txn);

must_check int ms_txn_get(struct ms_txn *txn, const void *key, uint32_t key_len, const void **value,
			  uint32_t *value_len);		/* borrowed until the next call on txn */
void ms_txn_put(struct ms_txn *txn, const void *key, uint32_t key_len, const void *value,
		uint32_t value_len);
void ms_txn_del(struct ms_txn *txn, const void *key, uint32_t key_len);
/* First row with a key >= the given, overlay included; -E_NOENT at the end. */
must_check int ms_txn_next(struct ms_txn *txn, const void *key, uint32_t key_len, struct row *out);

void ms_txn_event_begin(struct ms_txn *txn);		/* what follows belongs to one event */
uint32_t ms_txn_event_changes(const struct ms_txn *txn);
void ms_txn_event_abort(struct ms_txn *txn);		/* drop the event's changes */
/*
 * Encode the event's changes behind room for a journal header into out; returns the payload length,
 * or -E_TOOBIG. The changes stay in the overlay.
 */
must_check int ms_txn_event_encode(struct ms_txn *txn, uint8_t *out, uint32_t capacity,
				   uint32_t *change_count);

uint32_t ms_txn_event_bytes(const struct ms_txn *txn);	/* of the payload so far */

/*
 * Put all changes since the last flush into the rows, in key order, and forget them. Not yet
 * committed.
 */
must_check int ms_txn_flush(struct ms_txn *txn);
/* The same in two steps, so that a commit which fails loses nothing: reads still find it here. */
must_check int ms_txn_write(struct ms_txn *txn);
void ms_txn_forget(struct ms_txn *txn);
/*
 * Apply the payload of a journal record: replay. -E_MALFORMED: nothing was applied. The overlay
 * flushes itself when it grows large; the caller flushes and commits at the end.
 */
must_check int ms_txn_apply(struct ms_txn *txn, const uint8_t *payload, uint32_t len);

#endif
