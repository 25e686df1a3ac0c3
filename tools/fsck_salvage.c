/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Salvage: what a journal with a bad middle still holds. Records are decided row changes (I3),
 * whole values, so one that is lost takes nothing but its own changes with it: all others are
 * applied in their order, from whichever directory can give them. What then contradicts itself is
 * what the lost ones would have settled; fsck_rows.c names it and fsck_mend.c mends it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "metadata-server/journal_internal.h"
#include "metadata-server/snapshot.h"
#include "tools/fsck_internal.h"

/* The records of one directory, in order; damage is stepped over. */
struct source {
	struct disk *disk;
	uint64_t *firsts;
	uint32_t count, at; /* journal files; the one being read */
	struct ms_journal_reader reader;
	bool is_open, has_record;
	struct journal_header h;
	const uint8_t *payload; /* of it, in the reader */
};

struct salvage {
	struct fsck *f;
	struct source sources[FSCK_METADATA_DIRS_MAX];
	uint32_t source_count;
	struct ms_txn *txn;
	uint64_t applied;
	bool has_snapshot;
	bool lacks_begin; /* there is no snapshot, and the first records are gone as well */
};

static int source_open(struct source *s)
{
	int rc = ms_journal_reader_init(&s->reader, s->disk, s->firsts[s->at]);

	if (rc < 0)
		return rc;
	/* A damaged header costs nothing: records say who they are. */
	s->reader.offset = JOURNAL_FILE_HEADER_BYTES;
	s->is_open = true;
	return 0;
}

static void source_close(struct source *s)
{
	if (s->is_open)
		ms_journal_reader_finish(&s->reader);
	s->is_open = false;
	s->at++;
}

/* The next record of a number above `after`. */
static int source_next(struct source *s, uint64_t after)
{
	s->has_record = false;
	while (s->at < s->count) {
		int rc = s->is_open ? 0 : source_open(s);

		if (rc == 0)
			rc = ms_journal_reader_next(&s->reader, &s->h, &s->payload);
		if (rc == 1 && s->h.number > after) {
			s->has_record = true;
			return 0;
		}
		if (rc == 1)
			continue;
		if (rc == -E_NOMEM)
			return rc;
		if (rc < 0 && s->is_open) {
			s->reader.offset++;
			rc = ms_journal_reader_seek(&s->reader);
			if (rc == 1)
				continue;
		}
		source_close(s);
	}
	return 0;
}

/* The source with the lowest number; of two that have it, that of the later term. */
static struct source *lowest(struct salvage *s)
{
	struct source *best = NULL;

	for (uint32_t i = 0; i < s->source_count; i++) {
		struct source *one = &s->sources[i];

		if (!one->has_record)
			continue;
		if (!best || one->h.number < best->h.number ||
		    (one->h.number == best->h.number && one->h.term > best->h.term))
			best = one;
	}
	return best;
}

static void tell_hole(struct salvage *s, uint64_t from, uint64_t to)
{
	s->f->has_holes = true;
	s->lacks_begin |= from == 1 && !s->has_snapshot;
	fsck_fault(&s->f->report, FSCK_JOURNAL, s->f->metadata[0].path,
		   "records %" PRIu64 " to %" PRIu64
		   " are lost in every directory: what they changed is as before",
		   from, to);
}

static int apply(struct salvage *s, const struct source *from)
{
	struct fsck *f = s->f;
	int rc = ms_txn_apply(s->txn, from->payload, from->h.payload_len);

	if (from->h.number > f->number + 1)
		tell_hole(s, f->number + 1, from->h.number - 1);
	f->number = from->h.number;
	f->term = MAX_OF(f->term, from->h.term);
	f->number_max = MAX_OF(f->number_max, f->number);
	f->term_max = MAX_OF(f->term_max, f->term);
	if (rc == -E_MALFORMED) {
		fsck_fault(&f->report, FSCK_JOURNAL, f->metadata[0].path,
			   "record %" PRIu64 " makes no sense", from->h.number);
		return 0;
	}
	s->applied++;
	fsck_progress(&f->report, "journal", s->applied, 0);
	return rc;
}

static int sources_open(struct salvage *s)
{
	int rc = 0;

	for (uint32_t i = 0; i < s->f->options->metadata_dir_count && rc == 0; i++) {
		struct source *one = &s->sources[s->source_count];

		if (!s->f->metadata[i].is_good)
			continue;
		one->disk = s->f->metadata[i].disk;
		if (ms_journal_scan_list(one->disk, &one->firsts, &one->count) < 0)
			continue;
		s->source_count++;
		rc = source_next(one, s->f->number);
	}
	return rc;
}

static int apply_all(struct salvage *s)
{
	struct source *from;
	int rc = 0;

	while (rc == 0 && (from = lowest(s)) != NULL) {
		rc = apply(s, from);
		for (uint32_t i = 0; i < s->source_count && rc == 0; i++)
			if (s->sources[i].has_record && s->sources[i].h.number <= s->f->number)
				rc = source_next(&s->sources[i], s->f->number);
	}
	if (rc == 0)
		rc = ms_txn_flush(s->txn);
	return rc == 0 ? rows_commit(s->f->state) : rc;
}

int fsck_salvage(struct fsck *f, bool has_snapshot, struct error *err)
{
	struct salvage s = { .f = f, .has_snapshot = has_snapshot };
	int rc = ms_txn_create(f->state, &s.txn);

	if (rc == 0)
		rc = sources_open(&s);
	if (rc == 0)
		rc = apply_all(&s);
	ms_txn_destroy(s.txn);
	for (uint32_t i = 0; i < s.source_count; i++) {
		if (s.sources[i].is_open)
			ms_journal_reader_finish(&s.sources[i].reader);
		free(s.sources[i].firsts);
	}
	if (rc < 0)
		return error_set(err, rc, "cannot salvage the journal");
	/*
	 * Nothing behind the snapshot, or no beginning: what is missing may be most of it. A backup
	 * is better then.
	 */
	f->is_salvaged = s.applied > 0 && !s.lacks_begin;
	return s.applied > 0 || has_snapshot ? 1 : 0;
}
