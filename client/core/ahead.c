/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams and their read-ahead. Hints are given in batches of whole runs (cl_cache_run), half a
 * window at a time, so that servers meet them as neighbours; the cache drops what it has no room
 * for (I11).
 */
#include "client/core/ahead.h"

#include "client/core/file.h"

#define BLOCKS_MIN	8u
#define BLOCKS_MAX	192u		/* three runs: one at each of several servers */
#define CACHE_PART	8u		/* no window takes more of the cache than that */
#define LONG_PART	4u		/* so much of it, and a stream is a long one */
/* The kernel sends large requests in parallel and out of order, small ones one by one. */
#define LARGE_BYTES	KiB(128)
#define NEAR_BYTES_MAX	MiB(2)
#define READS_WHEN_RANDOM 3u		/* that make a stream there; elsewhere one more is enough */
#define START_BYTES_MIN KiB(64)		/* so much of a file's begin: it will be read on */
#define STRAYS_RANDOM	4u
#define STRAYS_MAX	16u


static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* The nearest stream that the read may continue; NULL: none. */
static struct cl_stream *stream_find(struct cl_ahead *ahead, uint64_t start, uint64_t near)
{
	struct cl_stream *best = NULL;

	for (uint32_t i = 0; i < CL_STREAMS_MAX; i++) {
		struct cl_stream *s = &ahead->streams[i];

		if (s->used && distance(s->next, start) <= near &&
		    (!best || distance(s->next, start) < distance(best->next, start)))
			best = s;
	}
	return best;
}

static struct cl_stream *stream_begin(struct cl_ahead *ahead)
{
	struct cl_stream *oldest = &ahead->streams[0];

	for (uint32_t i = 1; i < CL_STREAMS_MAX; i++)
		if (ahead->streams[i].used < oldest->used)
			oldest = &ahead->streams[i];
	*oldest = (struct cl_stream){ 0 };
	return oldest;
}

static uint32_t window_max(const struct client *c)
{
	uint64_t blocks = c->cache.bytes_max / CACHE_PART / BLOCK_BYTES_MAX;

	return (uint32_t)MIN_OF(MAX_OF(blocks, BLOCKS_MIN), BLOCKS_MAX);
}

struct cl_stream *cl_ahead_read(struct cl_file *file, uint64_t start, uint64_t end)
{
	struct cl_ahead *ahead = &file->ahead;
	uint64_t len = end - start;
	uint64_t near = len < LARGE_BYTES ? 0 : MIN_OF(2 * len, NEAR_BYTES_MAX);
	struct cl_stream *s = stream_find(ahead, start, near);

	if (s) {
		s->reads++;
		s->bytes += len;
		ahead->strays -= MIN_OF(ahead->strays, 2u);
	} else {
		s = stream_begin(ahead);
		s->reads = start == 0 && len >= START_BYTES_MIN;
		ahead->strays += ahead->strays < STRAYS_MAX;
	}
	if (s->reads >= (cl_ahead_is_random(ahead) ? READS_WHEN_RANDOM : 1u)) {
		uint32_t asked = (uint32_t)(2 * DIV_CEIL(len, BLOCK_BYTES_MAX));
		s->blocks = MIN_OF(MAX_OF(MAX_OF(s->blocks * 2, BLOCKS_MIN), asked),
				   window_max(file->client));
	}
	s->next = MAX_OF(s->next, end);
	s->used = ++ahead->clock;
	return s;
}

bool cl_ahead_is_long(const struct cl_file *file, const struct cl_stream *s)
{
	return s->bytes > file->client->cache.bytes_max / LONG_PART;
}

bool cl_ahead_is_random(const struct cl_ahead *ahead)
{
	return ahead->strays >= STRAYS_RANDOM;
}

/* Where the next hints end: whole runs, but the file's end. */
static uint64_t window_end(const struct cl_stream *s, uint64_t file_end)
{
	uint64_t stop = s->next + s->blocks * (uint64_t)BLOCK_BYTES_MAX;

	if (stop >= file_end)
		return file_end;
	uint64_t runs = stop / CL_RUN_BYTES;
	return runs > s->next / CL_RUN_BYTES ? runs * CL_RUN_BYTES : stop;
}

void cl_ahead_hint(struct cl_file *file, struct cl_stream *s)
{
	struct client *c = file->client;
	uint64_t pos = MAX_OF(s->next, s->until), half = s->blocks / 2 * (uint64_t)BLOCK_BYTES_MAX;
	uint64_t stop = file->manifest ? window_end(s, manifest_bytes(file->manifest)) : 0;

	if (s->blocks == 0 || (s->until > s->next && s->until - s->next > half))
		return;
	while (pos < stop) {
		struct extent e;
		int rc = manifest_lookup(file->manifest, pos, &e);
		if (rc == -E_NEED_NODE) {
			cl_cache_hint(c, manifest_needed(file->manifest), 0, 0);
			break;
		}
		if (rc < 0)
			break;
		if (!block_id_is_zero(&e.id))
			cl_cache_hint(c, &e.id, (uint32_t)e.length,
				      cl_cache_run(file->node->ino, e.offset));
		pos = e.offset + e.length;
	}
	s->until = pos;
}
