/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run: records that lie together, read at once, with at most one visit at a worker. Each is
 * checked alone on its way out (header, checksum, and that it is the block asked for), and read
 * alone should the run fail. Keeps I8: what the disk says is not believed.
 *
 * Memory is asked first. A longer run of synced records of which it holds nothing is read past it,
 * straight to where it is sent from: that costs a fifth of the processor time (m), and who
 * streams a model once does not push out what many ask for. A run that comes again soon, since many
 * nodes load the same model now, and any single record, go through the system's cache and stay
 * there.
 */
#include "chunk-server/store_internal.h"

#include <utlist.h>

#include "fs/base/log.h"
#include "fs/base/metrics.h"
#include "fs/hash/checksum.h"

#define LOG_MODULE "store"

#define RUN_BYTES_MAX	 (STORE_RUN_MAX * RECORD_BYTES_MAX)
#define LIVE_PER_DEAD	 3u	/* at least, but for the first gaps */
#define GAPS_AT_START	 2u
#define DIRECT_COUNT_MIN 3u	/* records; fewer are no stream */
#define AGAIN_S		 5u
#define DIRECT_POOL_PART 2u	/* of the pool: beyond it, huge buffers keep too much */

_Static_assert(RUN_BYTES_MAX + 2 * DISK_ALIGN <= BUF_HUGE_BYTES,
	       "a run, from page to page, fits a buffer");

/* --- one record ---- */

static uint64_t end_of(const struct cs_get *get)
{
	return get->place.offset + store_padded(get->place.length);
}

int cs_store_record_judge(const struct buf *buf, int bytes, const struct block_id *id,
			  const struct cs_place *place)
{
	struct record record;

	if (bytes < 0)
		return bytes;
	if ((uint32_t)bytes < place->length)
		return -E_CORRUPT;
	int rc = record_check(buf->data, place->length, &record);
	if (rc < 0)
		return rc == -E_BAD_MAGIC || rc == -E_MALFORMED ? -E_CORRUPT : rc;
	return block_id_equal(&record.id, id) ? 0 : -E_CORRUPT;
}

/* `bytes` were read: is this the record? Takes the buffer back unless it is. */
static int judge(struct cs_get *get, int bytes)
{
	int rc = cs_store_record_judge(get->record, bytes, &get->id, &get->place);

	if (rc == 0) {
		METRIC_INC(block_gets);
		return 0;
	}
	buf_put(get->record);
	get->record = NULL;
	if (rc == -E_CORRUPT)
		METRIC_INC(block_read_corrupt);
	char hex[BLOCK_ID_HEX_BYTES];
	log_error("cannot read a record: %s block=%s seg=%llu off=%llu", error_text(rc),
		  block_id_hex(&get->id, hex), (unsigned long long)get->place.segment,
		  (unsigned long long)get->place.offset);
	return rc;
}

/* --- the end of a run ---- */

/* Nothing was read. */
static void run_refuse(struct cs_get *first, int rc)
{
	struct cs_get *get, *next = first;

	for (uint32_t count = first->run_count; count > 0; count--) {
		get = next;
		next = get->next; /* done() may use it for another */
		buf_put(get->record);
		get->record = NULL;
		get->rc = rc;
		get->done(get);
	}
}

/* Its first `rc` bytes were read, of a direct one from run_offset on, or rc < 0. */
static void run_answer(struct cs_get *first, int rc)
{
	uint64_t begin = first->run != NULL ? first->run_offset : first->place.offset;
	struct cs_get *get, *next = first;
	struct buf *run = first->run;

	cs_store_file_put(first->store, first->file);
	for (uint32_t count = first->run_count; count > 0; count--) {
		get = next;
		next = get->next;
		uint32_t from = (uint32_t)(get->place.offset - begin);
		int bytes = rc < 0 ? rc : MAX_OF(rc - (int)from, 0);
		if (run != NULL)
			get->record = buf_slice(run, from, get->place.length);
		get->rc = get->record == NULL ? -E_OVERLOADED : judge(get, bytes);
		get->done(get);
	}
	buf_put(run);
}

static void run_alone(struct cs_get *get, struct store_file *file);

/* One sector that cannot be read must not cost its neighbours. */
static void run_split(struct cs_get *first)
{
	struct cs_get *get, *next = first;
	struct store_file *file = first->file;

	buf_put(first->run);
	for (uint32_t count = first->run_count; count > 0; count--) {
		get = next;
		next = get->next;
		file->users++;
		run_alone(get, file);
	}
	cs_store_file_put(first->store, file);
}

static void run_ended(struct cs_get *first, int rc)
{
	if (rc < 0 && first->run_count > 1)
		run_split(first);
	else
		run_answer(first, rc);
}

/* --- through the cache ---- */

/* Where each record goes. -E_OVERLOADED: no buffer. */
static int run_gather(struct cs_get *first)
{
	struct cs_get *get = first;

	first->run_bytes = 0;
	for (uint32_t i = 0; i < first->run_count; i++, get = get->next) {
		uint32_t bytes = (uint32_t)store_padded(get->place.length);

		if (get->record == NULL)
			get->record = buf_get(get->store->options.pool, bytes);
		if (get->record == NULL)
			return -E_OVERLOADED;
		get->record->len = get->place.length;
		first->iov[i] = (struct iovec){get->record->data, bytes};
		first->run_bytes += bytes;
	}
	return 0;
}

static void cached_done(struct disk_op *op)
{
	struct cs_get *first = container_of(op, struct cs_get, op);
	struct cs_store *store = first->store;

	run_ended(first, op->rc < 0 ? op->rc : op->rc + (int)first->cached_bytes);
	cs_store_read_ended(store);
}

/* The rest, behind what memory held, by a worker. */
static void cached_submit(struct cs_get *first)
{
	uint32_t skip = first->cached_bytes, index = 0;

	while (skip >= first->iov[index].iov_len)
		skip -= (uint32_t)first->iov[index++].iov_len;
	first->iov[index].iov_base = (uint8_t *)first->iov[index].iov_base + skip;
	first->iov[index].iov_len -= skip;
	cs_store_read_begins(first->store, &first->place);
	first->op = (struct disk_op){
		.kind = DISK_OP_READV,
		.file = first->file->file,
		.iov = &first->iov[index],
		.iov_count = (int)(first->run_count - index),
		.offset = first->place.offset + first->cached_bytes,
		.done = cached_done,
	};
	disk_submit(first->store->options.loop, &first->op);
}

/* Without buffers: those in memory go first. */
static void run_wait(struct cs_get *first)
{
	struct cs_get *get = first;

	cs_store_file_put(first->store, first->file);
	for (uint32_t i = 0; i < first->run_count; i++, get = get->next) {
		buf_put(get->record);
		get->record = NULL;
	}
	cs_store_read_wait(first);
}

static void run_cached(struct cs_get *first)
{
	int rc = run_gather(first);

	if (rc < 0) {
		cs_store_file_put(first->store, first->file);
		run_refuse(first, rc);
		return;
	}
	rc = disk_readv_cached(first->file->file, first->iov, (int)first->run_count,
			       first->place.offset);
	if (rc < 0 && rc != -E_AGAIN) {
		run_ended(first, rc);
		return;
	}
	first->cached_bytes = rc > 0 ? (uint32_t)rc : 0;
	if (first->cached_bytes == first->run_bytes)
		run_answer(first, rc);
	else if (cs_store_reads_are_full(first->store) && !first->is_alone)
		run_wait(first);
	else
		cached_submit(first);
}

static void run_alone(struct cs_get *get, struct store_file *file)
{
	get->run_count = 1;
	get->run = NULL;
	get->file = file;
	get->is_alone = true;
	run_cached(get);
}

/* --- past the cache ---- */

/* Was a run from here on read directly just now? It is noted; the table forgets by and by. */
static bool was_streamed(struct cs_store *store, const struct cs_place *place)
{
	uint64_t where[2] = {place->segment, place->offset};
	uint64_t hash = checksum_of(where, sizeof(where));
	struct store_streamed *slot = &store->streamed[hash % STORE_STREAMED_MAX];
	struct store_streamed now = {
		.mark = (uint32_t)(hash >> 32) | 1,
		.at_s = (uint32_t)(loop_now_ms(store->options.loop) / 1000),
	};
	bool was_here = slot->mark == now.mark && now.at_s - slot->at_s <= AGAIN_S;

	*slot = now;
	return was_here;
}

/* What was not synced the system would have to write first. */
static bool may_be_direct(const struct cs_get *first, uint64_t end)
{
	const struct cs_store *store = first->store;
	const struct buf_pool *pool = store->options.pool;

	return first->run_count >= DIRECT_COUNT_MIN &&
	       (store->active == NULL || first->place.segment != store->active->number ||
		end <= store->durable_tail) &&
	       buf_pool_used_bytes(pool) + BUF_HUGE_BYTES <
		       buf_pool_bytes_max(pool) / DIRECT_POOL_PART;
}

/* The file past caches; NULL: there is none. */
static struct disk_file *direct_file(struct cs_store *store, struct store_file *file)
{
	char name[STORE_NAME_BYTES];

	if (file->direct == NULL &&
	    disk_open(store->options.disk, cs_store_segment_name(file->number, name),
		      DISK_READ | DISK_DIRECT, &file->direct) < 0)
		file->direct = NULL;
	return file->direct;
}

static void direct_done(struct disk_op *op)
{
	struct cs_get *first = container_of(op, struct cs_get, op);
	struct cs_store *store = first->store;

	run_ended(first, op->rc);
	cs_store_read_ended(store);
}

static bool run_direct(struct cs_get *first)
{
	const struct cs_get *last = first;

	for (uint32_t i = 1; i < first->run_count; i++)
		last = last->next;
	uint64_t from = first->place.offset / DISK_ALIGN * DISK_ALIGN;
	uint64_t end = DIV_CEIL(end_of(last), DISK_ALIGN) * DISK_ALIGN;
	uint32_t bytes = (uint32_t)(end - from);
	/* Smaller buffers are not aligned as a direct read needs it. */
	if (bytes <= BUF_LARGE_BYTES || cs_store_reads_are_full(first->store) ||
	    !may_be_direct(first, end) || disk_cached(first->file->file, bytes, from) != 0 ||
	    was_streamed(first->store, &first->place))
		return false;
	struct disk_file *file = direct_file(first->store, first->file);
	first->run = file != NULL ? buf_get(first->store->options.pool, bytes) : NULL;
	if (first->run == NULL)
		return false;
	first->run_offset = from;
	cs_store_read_begins(first->store, &first->place);
	first->op = (struct disk_op){
		.kind = DISK_OP_READ,
		.file = file,
		.data = first->run->data,
		.len = bytes,
		.offset = from,
		.done = direct_done,
	};
	disk_submit(first->store->options.loop, &first->op);
	return true;
}

/* --- what is a run ---- */

/*
 * Writers keep many blocks in flight, so records of others lie between: reading over a few of them
 * is cheaper than stopping there.
 */
uint32_t cs_store_run_count(struct cs_get *first)
{
	const struct media_profile *media = first->store->media;
	uint64_t bytes_max = MIN_OF(RUN_BYTES_MAX, media->request_bytes);
	uint64_t dead = 0, live = store_padded(first->place.length);
	uint32_t count = 1;

	for (const struct cs_get *get = first, *next; (next = get->next) != NULL; get = next) {
		uint64_t gap = next->place.offset - end_of(get);

		if (count == STORE_RUN_MAX || next->place.segment != first->place.segment ||
		    next->place.offset < end_of(get) || gap > media->gap_bytes ||
		    end_of(next) - first->place.offset > bytes_max)
			break;
		dead += gap;
		live += store_padded(next->place.length);
		if (dead * LIVE_PER_DEAD > live + GAPS_AT_START * media->gap_bytes)
			break;
		count++;
	}
	first->run_count = count;
	return count;
}

/* How many of the next `count` gets lie side by side, without a gap. */
static uint32_t count_joined(const struct cs_get *first, uint32_t count)
{
	uint32_t joined = 1;

	for (const struct cs_get *get = first;
	     joined < count && get->next->place.offset == end_of(get); get = get->next)
		joined++;
	return joined;
}

/* Memory is copied from: piece by piece, without what lies between. */
static void runs_cached(struct cs_get *first)
{
	struct store_file *file = first->file;
	struct cs_store *store = first->store;
	struct cs_get *next = first;

	for (uint32_t left = first->run_count; left > 0;) {
		struct cs_get *piece = next;
		uint32_t count = count_joined(piece, left);

		left -= count;
		for (uint32_t i = 0; i < count; i++)
			next = next->next;
		piece->run_count = count;
		piece->run = NULL;
		piece->file = file;
		file->users++;
		run_cached(piece);
	}
	cs_store_file_put(store, file);
}

void cs_store_run(struct cs_get *first)
{
	int rc = cs_store_file_get(first->store, first->place.segment, &first->file);

	first->run = NULL;
	if (rc < 0)
		run_refuse(first, rc == -E_NOENT ? -E_NO_BLOCK : rc);
	else if (!run_direct(first))
		runs_cached(first);
}
