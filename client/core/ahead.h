/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of readers through one inode, whoever reads: several at once, found by where reads end
 * and begin. A stream is read ahead, by whole runs and ever further, as far as memory allows;
 * reads that belong to none are counted, and when most are like that the inode is read at random:
 * then small reads fetch only what they need.
 */
#ifndef CAIRN_CLIENT_CORE_AHEAD_H
#define CAIRN_CLIENT_CORE_AHEAD_H

#include "fs/base/base.h"

struct cl_file;

#define CL_STREAMS_MAX 16u

struct cl_stream {
	uint64_t next;		/* where its last read ended */
	uint64_t until;		/* hints were given up to here */
	uint32_t reads;		/* that continued it */
	uint64_t bytes;		/* of them */
	uint32_t blocks;	/* the window; 0: perhaps it is none */
	uint64_t used;		/* clock of its last read; 0: free */
};

struct cl_ahead {
	struct cl_stream streams[CL_STREAMS_MAX];
	uint64_t clock;
	uint32_t strays;	/* reads outside of streams, less those inside */
};

/* A read of [start, end) begins; the stream that it belongs to. */
struct cl_stream *cl_ahead_read(struct cl_file *file, uint64_t start, uint64_t end);
/* Ask for what the stream will need, if it is time. */
void cl_ahead_hint(struct cl_file *file, struct cl_stream *stream);
/*
 * It reads more than the cache holds: what it has passed would only push out what others may need,
 * and memory that was just given back is still in the processor's caches.
 */
bool cl_ahead_is_long(const struct cl_file *file, const struct cl_stream *stream);
bool cl_ahead_is_random(const struct cl_ahead *ahead);

#endif
