/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of the metadata on chunk servers: the newest snapshot and the journal since, so that a
 * lost metadata disk costs seconds (mkfs.cairn --recover, rescue.h). They lie there as
 * "meta/TERM-NUMBER.snapshot" and "meta/TERM-FIRST.journal", byte for byte the files of this
 * server.
 *
 * mds.metadata_copies servers are kept up to date, spread over hosts; one that is silent or refuses
 * is replaced. Only what is durable here is sent, and a file is never changed but at its end, so a
 * copy is always a prefix of our history. It counts once its snapshot is whole and the journal
 * reaches on from it without a gap.
 *
 * fsync waits for none of this (D2). Threads: the loop's; files are read on workers.
 */
#ifndef CAIRN_METADATA_SERVER_COPIES_H
#define CAIRN_METADATA_SERVER_COPIES_H

#include "fs/base/base.h"

#define MS_COPIES_MAX	 8u	/* servers that hold one */
#define MS_COPIES_AGE_MS 5000u	/* a copy this old, or older, does not count */

struct ms_server;
struct ms_copies;

must_check int ms_copies_create(struct ms_server *s, uint32_t wanted, struct ms_copies **out);
void ms_copies_destroy(struct ms_copies *c);	/* NULL is allowed */
void ms_copies_tick(struct ms_copies *c);
bool ms_copies_is_idle(const struct ms_copies *c);	/* no worker reads for it */
/* Chunk servers whose copy is younger than MS_COPIES_AGE_MS. */
uint32_t ms_copies_count(const struct ms_copies *c);
/*
 * For the collector: all of these copies, at least one, hold the journal up to this number, so what
 * later records made unreachable is not wanted by a metadata server that is built from one of them.
 * 0: there is no such copy; UINT64_MAX: none are wanted.
 */
uint64_t ms_copies_number(const struct ms_copies *c);

#endif
