/* SPDX-License-Identifier: Apache-2.0 */
/* One record after the other: read, proved, encoded, proved again. Foreign until proved (I8). */
#include "chunk-server/reencode_work.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/fault.h"

int cs_reencoder_init(struct cs_reencoder *e, struct disk *disk, enum hash_kind hash)
{
	int rc = cs_scrub_reader_init(&e->reader, disk, hash);

	e->plain = malloc(BLOCK_BYTES_MAX);
	e->again = malloc(BLOCK_BYTES_MAX);
	e->codec = codec_scratch_create();
	if (rc == 0 && e->plain != NULL && e->again != NULL && e->codec != NULL)
		return 0;
	cs_reencoder_finish(e);
	return -E_NOMEM;
}

void cs_reencoder_finish(struct cs_reencoder *e)
{
	cs_scrub_reader_finish(&e->reader);
	free(e->plain);
	free(e->again);
	if (e->codec != NULL)
		codec_scratch_destroy(e->codec);
	memset(e, 0, sizeof(*e));
}

/* The plain bytes of what lies there, proved to be the block. */
static int plain_of(struct cs_reencoder *e, const struct cs_scrub_item *item, struct record *record)
{
	const uint8_t *bytes;
	int rc = cs_scrub_record(&e->reader, item, &bytes);

	if (rc < 0)
		return rc;
	rc = record_open(e->codec, e->reader.hash, bytes, item->entry.length, true, record,
			 e->plain);
	if (rc == 0 && !block_id_equal(&record->id, &item->entry.id))
		rc = -E_CORRUPT;
	return rc;
}

/* Of FAST whatever comes of it is wanted; of others only what is clearly smaller. */
static bool is_worth_it(const struct cs_reencode_job *job)
{
	uint32_t len = job->out->len;

	return job->aim == CODEC_AIM_FAST ||
	       len + job->old_len / REENCODE_LEAST_PARTS < job->old_len;
}

static void encode(struct cs_reencoder *e, struct cs_reencode_job *job, const struct record *old)
{
	const struct codec_bytes bytes = {e->plain, old->plain_len};
	struct record_plan plan = {.id = old->id, .plain = e->plain, .plain_len = old->plain_len};
	uint8_t *out = job->out->data;

	codec_detect(job->aim, &bytes, e->previous_aim == job->aim ? &e->previous : NULL,
		     &plan.codec);
	e->previous = plan.codec;
	e->previous_aim = job->aim;
	uint32_t len = record_split(e->codec, &plan, out, out + RECORD_HEADER_BYTES);
	if (len == 0) {
		len = old->plain_len;
		memcpy(out + RECORD_HEADER_BYTES, e->plain, len);
	}
	job->out->len = RECORD_HEADER_BYTES + len;
	if (FAULT(reencode))
		out[RECORD_HEADER_BYTES] ^= 1;
}

/* Does it decode to the same bytes? */
static bool is_right(struct cs_reencoder *e, const struct cs_reencode_job *job,
		     const struct record *old)
{
	struct record found;
	int rc = record_open(e->codec, e->reader.hash, job->out->data, job->out->len, true, &found,
			     e->again);

	return rc == 0 && block_id_equal(&found.id, &old->id) &&
	       found.plain_len == old->plain_len &&
	       memcmp(e->again, e->plain, old->plain_len) == 0;
}

static enum cs_reencode_verdict judge_unread(int rc)
{
	return rc == -E_NOMEM ? REENCODE_UNREADABLE : REENCODE_DAMAGED;
}

static void run_one(struct cs_reencoder *e, uint32_t i)
{
	const struct cs_scrub_item *item = &e->reader.items[i];
	struct cs_reencode_job *job = &e->jobs[i];
	struct record old;
	int rc = plain_of(e, item, &old);

	if (rc < 0) { /* a cable may err, too */
		e->reader.window_len = 0;
		rc = plain_of(e, item, &old);
	}
	if (rc < 0) {
		job->verdict = judge_unread(rc);
		return;
	}
	job->old_len = item->entry.length;
	encode(e, job, &old);
	if (!is_worth_it(job))
		job->verdict = REENCODE_DENSE;
	else
		job->verdict = is_right(e, job, &old) ? REENCODE_BETTER : REENCODE_WRONG;
}

void cs_reencoder_run(struct cs_reencoder *e)
{
	ASSERT(e->reader.item_count <= REENCODE_BATCH);
	for (uint32_t i = 0; i < e->reader.item_count; i++)
		run_one(e, i);
}
