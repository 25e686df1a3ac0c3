/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events for the metadata core alone, as a server would make them of the requests of one session:
 * what bench_metadata_core times and bench_instructions counts.
 */
#ifndef CAIRN_TESTS_BENCH_METADATA_REQUESTS_H
#define CAIRN_TESTS_BENCH_METADATA_REQUESTS_H

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/wire/msg.h"
#include "metadata-server/step.h"
#include "metadata-server/txn.h"

#define REQUESTS_SESSION ((session_no)0x1234)

/* The session's slots take turns. */
struct requests {
	uint64_t seqs[SESSION_SLOTS];
	char name[32];		/* of the last one: valid until the next */
};

static inline struct ms_config requests_config(void)
{
	return (struct ms_config){
		.lease_ms = LEASE_MS, .suspect_ms = 3000, .down_ms = 6000, .out_ms = 20000,
		.copies = 3, .min_copies = 2, .name_key = 42, .inline_bytes_max = INLINE_BYTES_MAX,
		.leases_max_per_session = LEASES_MAX_PER_SESSION, .parked_max = 64,
		.sessions_max = 8 };
}

static inline struct ms_event requests_session(void)
{
	struct ms_event event = { .kind = MS_EV_REQUEST };

	event.req.op = MSG_SESSION_OPEN;
	event.req.new_session = REQUESTS_SESSION;
	return event;
}

static inline struct ms_name requests_name(struct requests *r, uint64_t i)
{
	int len = snprintf(r->name, sizeof r->name, "model-%014llu", (unsigned long long)i);

	return (struct ms_name){ (const uint8_t *)r->name, (uint32_t)len };
}

static inline struct ms_event requests_change(struct requests *r, uint16_t op, uint64_t i)
{
	struct ms_event event = { .kind = MS_EV_REQUEST };
	uint32_t slot = (uint32_t)(i % SESSION_SLOTS);

	event.req.op = op;
	event.req.session = REQUESTS_SESSION;
	event.req.slot = slot;
	event.req.slot_seq = ++r->seqs[slot];
	return event;
}

static inline struct ms_event requests_make(struct requests *r, uint64_t i)
{
	struct ms_event event = requests_change(r, MSG_MAKE, i);

	event.req.caller = (struct ms_caller){ .uid = 1000, .gid = 1000 };
	event.req.parent = INODE_ROOT;
	event.req.mode = S_IFREG | 0644;
	event.req.exclusive = true;
	event.req.name = requests_name(r, i);
	return event;
}

/* What most files are: one block. */
static inline struct ms_event requests_publish(struct requests *r, uint64_t i, inode_no ino)
{
	struct ms_event event = requests_change(r, MSG_PUBLISH, i);

	event.req.ino = ino;
	event.req.base_version = 1;
	event.req.root = (struct root){ .kind = ROOT_BLOCK, .length = 1 + i % BLOCK_BYTES_MAX };
	memset(event.req.root.id.bytes, (int)(1 + i % 255), sizeof event.req.root.id.bytes);
	return event;
}

static inline struct ms_event requests_lookup(struct requests *r, uint64_t i)
{
	struct ms_event event = { .kind = MS_EV_REQUEST };

	event.req.op = MSG_LOOKUP;
	event.req.session = REQUESTS_SESSION;
	event.req.parent = INODE_ROOT;
	event.req.name = requests_name(r, i);
	return event;
}

#endif
