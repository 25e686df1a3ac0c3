/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of client/tier share.
 *
 * Everything is touched by the loop's thread alone, but what a job or a transfer in flight owns: a
 * worker reads and writes the job (or tier_io) itself, the open file in it, and of the content's
 * sums those of the pieces that are being written. So there are no locks.
 *
 * A file has one job at a time (file_advance() starts the next that is due): it is made, opened,
 * sealed, checked, removed in order. While names of a place are being removed nothing new is made
 * in it, so that the limit holds at every moment and no name is in the way of its successor.
 */
#ifndef CAIRN_CLIENT_TIER_TIER_INTERNAL_H
#define CAIRN_CLIENT_TIER_TIER_INTERNAL_H

#include <sys/types.h>
#include <uthash.h>

#include "client/tier/policy.h"
#include "client/tier/tier.h"
#include "fs/disk/tier_format.h"

#define TIER_PATH_BYTES	   128
#define TIER_PROBLEM_BYTES 128
#define TIER_FILLING_DIR   "filling"
#define TIER_SEALED_DIR	   "sealed"
#define TIER_SUMS_DIR	   "sums"

#define TIER_FILES_MAX	   TIER_FORMAT_FILES_MAX /* of a place */
#define TIER_FILLING_MAX   256u		/* files being filled, of all places; each has a handle */
#define TIER_HANDLES_MAX   512u		/* sealed files kept open */
#define TIER_PINS_MAX	   65536u
#define TIER_DRAFT_ROOM	   MiB(64)	/* what a draft grows by */
#define TIER_INLINE_BYTES  KiB(128)	/* reads up to this are tried from memory at once */
#define TIER_TICK_MS	   3000u	/* between looks at free space */
#define TIER_RETRY_MS	   30000u	/* between tries of a place that broke */
#define TIER_LOCK_MS	   3000u	/* the same, while another mount has it */
#define TIER_INDEX_MS	   10000u	/* between notes of uses */

_Static_assert(TIER_PIECE_BYTES == TIER_FORMAT_PIECE_BYTES, "the unit of sums is on disk");

struct place;

/* One call on a worker. run() touches nothing but the job and what is said above. */
struct tier_job {
	struct loop_work work;
	struct place *place;
	struct tier_file *file;		/* or NULL; kept until done */
	void (*run)(struct tier_job *job);
	void (*done)(struct tier_job *job);
	struct disk *disk;
	char path[TIER_PATH_BYTES], to[TIER_PATH_BYTES];
	struct disk_file *disk_file;
	bool had_handle;		/* of a removal: it closes the file's handle */
	uint64_t bytes;
	void *found;			/* of a scan */
	int rc;
};

struct tier_file {
	struct policy_item item;	/* its root and charged bytes; first */
	struct tiers *tiers;
	struct place *place;
	enum tier_state state;
	/* what its names in sealed/ and sums/ say; tier_recut.c renames them when it has another */
	struct root name_root, renamed_root;
	bool is_renaming;
	bool has_root;			/* else a draft that was not adopted */
	bool in_table;
	bool is_copy;			/* of one that is in the table elsewhere: not told of */
	bool was_draft;
	bool in_policy, is_pinned;
	bool is_doubted;		/* not believed before it was checked */
	bool is_wanted;			/* somebody asked for it while it was doubted */
	bool is_detached;		/* its bytes are no longer those of the root */
	uint32_t refs, io_count;
	uint64_t bytes;			/* of the content */
	uint64_t uses, used_wall_ns;

	/* while filling and sealing */
	uint64_t number;		/* its name in filling/ */
	uint64_t present_bytes;
	uint8_t *present;		/* a bit for each piece */
	uint64_t *sums;
	void (*seal_done)(void *arg, int rc);
	void *seal_arg;
	int seal_rc;

	struct disk_file *handle;	/* NULL: not open */
	bool is_made;			/* its name is there, its length allocated */
	/* names that are removed when it is gone: in filling/; in sealed/ and sums/ */
	bool has_filling_name, has_sealed_name;
	bool is_leaving;		/* gone, and its room is about to be free */
	bool is_job_active, must_seal;
	struct tier_job job;
	struct tier_io *waiting;	/* transfers until it is made, open, or has room */

	bool tells_sealed, tells_seal_done, tells_gone, is_telling;
	struct tier_file *told_prev, *told_next;	/* t->telling */
	struct tier_file *open_prev, *open_next;	/* t->idle: open, sealed, no transfer */
	bool is_idle;
	UT_hash_handle hh;				/* t->files, by root */
	struct tier_file *all_prev, *all_next;		/* t->all, also what is gone */
	struct tier_check *check;			/* under way, or NULL */
};

enum place_state { PLACE_CLOSED = 0, PLACE_SCANNING, PLACE_READY, PLACE_BROKEN };

struct place {
	struct tiers *tiers;
	uint32_t index;
	char *directory;
	struct disk *disk;
	bool owns_disk, is_memory;
	uint64_t bytes_max, keep_free;
	enum place_state state;
	char problem[TIER_PROBLEM_BYTES];
	uint64_t retry_ns;		/* when to try a broken one again */

	uint64_t bytes_used;		/* charged, with what is gone and not yet removed */
	uint64_t bytes_free;		/* of the host, by the last look and what began since */
	uint64_t bytes_unmade;		/* of files begun and not yet allocated */
	uint64_t bytes_leaving;		/* of bytes_used, what is about to be free */
	uint32_t removing;		/* names and room being freed: nothing is made meanwhile */
	uint32_t jobs, handles;		/* a disk is opened anew when there are none */
	uint32_t file_count;
	struct policy *policy;
	struct tier_job job;		/* opening, looking */
	bool is_job_active;
	bool is_locked, was_broken, has_no_tree;
	bool is_index_old;		/* uses changed since it was written */
	uint64_t index_ns;		/* when it was written last */
	void *uses;			/* being written, with uses_bytes */
	size_t uses_bytes;
	int dir_fd, tree_fd;		/* the folder; its read-only clone; -1 */
	dev_t device;			/* where the folder was; 0: it was never open */

	uint64_t hits, evictions, evicted_bytes, promotions, demotions, checked_bytes, wrong;
};

struct pin {
	uint8_t key[ROOT_BYTES];	/* the root, encoded */
	UT_hash_handle hh;
};

struct tiers {
	struct tiers_options options;
	struct loop *loop;
	struct place places[TIER_PLACES_MAX];
	uint32_t place_count;
	struct tier_file *files;	/* table: not gone, with a root */
	struct tier_file *all;
	struct pin *pins;
	uint32_t filling_count, idle_count;
	uint64_t next_number;
	struct tier_io *submitted;
	struct tier_io *flying;		/* a worker has them */
	struct tier_file *telling, *idle;
	struct loop_task turn;		/* starts what was submitted, tells what happened */
	bool is_turn_posted;
	struct loop_timer tick;
	struct tier_move *move;		/* under way, or NULL */
	struct tier_check *checks;
	uint32_t check_count;
	struct loop_timer scrub;	/* begins the next check */
	uint8_t scrub_key[ROOT_BYTES];	/* of the last file that the pass came to */
	uint64_t pass_ns;		/* when the next pass may begin */
	uint32_t jobs;			/* in flight, transfers with them */
	bool is_started, is_ready, is_stopping;
	bool is_stopped;		/* nothing is begun any more, the loop may be gone soon */
	void (*stop_done)(void *arg);
	void *stop_arg;
	uint64_t hits, misses, refused;
};

/* --- tiers.c ---------------------------------------------------------------------------------- */

/* Let the turn's task run: submitted transfers, things to tell, a stop that may go on. */
void tiers_wake(struct tiers *t);
void tiers_job_start(struct tier_job *job);
struct tier_file *tiers_lookup(const struct tiers *t, const struct root *root);
bool tiers_is_pinned(const struct tiers *t, const struct root *root);

/* --- tiers_begin.c ---------------------------------------------------------------------------- */

/* Memory for the pieces of its root. */
must_check int tiers_begin_pieces(struct tier_file *f);

/* --- tiers_place.c ---------------------------------------------------------------------------- */

/* What content of so many bytes takes, with its sums. */
uint64_t tiers_place_charge(const struct root *root);
void tiers_place_open(struct place *p);
/* It cannot be used: said once; its content is gone until it comes back. */
void tiers_place_break(struct place *p, const char *what, int rc);
/* Another mount has the folder: what is there is not in doubt, and it may be free soon. */
void tiers_place_taken(struct place *p);
/* A call failed on it: is it full, broken, or was it only this file? */
void tiers_place_failed(struct place *p, const char *what, int rc);
/* Make room for so many bytes more. 0, -E_NOSPC. */
must_check int tiers_place_make_room(struct place *p, uint64_t bytes,
				     const struct policy_newcomer *newcomer);
/* Where new content goes, with room made for it. */
must_check int tiers_place_choose(struct tiers *t, uint64_t bytes,
				  const struct policy_newcomer *newcomer, struct place **out);
bool tiers_place_has_room(const struct place *p, uint64_t bytes);
/* This place and all above it hear of a use of what is here or comes here. */
void tiers_place_note_use(struct place *p, const struct root *root, uint64_t bytes);
/* What could go, and the policy would not hold; or NULL. */
struct tier_file *tiers_place_victim(struct place *p);
void tiers_place_evict(struct tier_file *f);
/* Evict until limits hold. */
void tiers_place_shrink(struct place *p);
void tiers_place_look(struct place *p);
void tiers_place_close(struct place *p);	/* cleanly; its state tells when */
void tiers_place_finish(struct place *p);

/* --- tiers_move.c ----------------------------------------------------------------------------- */

/* Begin to move something, if that makes sense and nothing is being moved. */
void tiers_move_look(struct tiers *t);
void tiers_move_finish(struct tiers *t);

/* --- tier_file.c ------------------------------------------------------------------------------ */

/* A file in that place, charged, without a reference. NULL: no memory. */
struct tier_file *tier_file_create(struct place *p, const struct root *root, uint64_t charge);
/* Into the table. */
void tier_file_publish(struct tier_file *f);
/* No new use of it; its names go, unless `keeps_name`. */
void tier_file_gone(struct tier_file *f, bool keeps_name);
/* Start the job that is due, end what ended. May free it. */
void tier_file_advance(struct tier_file *f);
void tier_file_charge(struct tier_file *f, uint64_t bytes);
/* [offset, offset + len), whole pieces, was written and summed. */
void tier_file_wrote(struct tier_file *f, uint64_t offset, uint64_t len);
/* It is sealed, by a seal or found so. */
void tier_file_sealed(struct tier_file *f);
void tier_file_job_start(struct tier_file *f, void (*run)(struct tier_job *job),
			 void (*done)(struct tier_job *job));
/* tells_* were set. */
void tier_file_tell(struct tier_file *f);
/* Forget the memory of filling. */
void tier_file_forget_filling(struct tier_file *f);
void tier_file_path(const struct tier_file *f, char out[TIER_PATH_BYTES]);
void tier_file_sealed_path(const struct root *root, char out[TIER_PATH_BYTES]);
void tier_file_sums_path(const struct root *root, char out[TIER_PATH_BYTES]);
void tier_file_free(struct tier_file *f);

/* --- tier_io.c -------------------------------------------------------------------------------- */

void tier_io_start(struct tier_io *io);
/* All that waits goes through tier_io_start() again, in the next turn; or ends with rc then. */
void tier_io_fail_waiting(struct tier_file *f, int rc);
void tier_io_resubmit(struct tier_file *f);
/* Tell all of the list that they end, without touching files: these go, too. */
void tier_io_abandon(struct tier_io *list);
/* The handle was opened, or its last transfer ended: keep it, within bounds. */
void tier_io_idle(struct tier_file *f);
void tier_io_busy(struct tier_file *f);
void tier_io_close(struct tier_file *f);

/* --- tier_seal.c ------------------------------------------------------------------------------ */

void tier_seal_advance(struct tier_file *f);

/* --- tier_recut.c ----------------------------------------------------------------------------- */

/* Its names are not those of its root any more: start the job that renames them. True: it did. */
bool tier_recut_advance(struct tier_file *f);

/* --- tier_sums.c ------------------------------------------------------------------------------ */

must_check int tier_sums_write(struct disk *disk, const struct root *root, const uint64_t *sums);
/* *out is allocated. */
must_check int tier_sums_read(struct disk *disk, const struct root *root, uint64_t **out);

/* --- tier_scan.c ------------------------------------------------------------------------------ */

/* Begin to find out what the folder holds; the place is ready or broken then. */
void tier_scan_start(struct place *p);
/* What a scan that never ended had found. */
void tier_scan_free(struct tier_job *job);

/* --- tier_index.c ----------------------------------------------------------------------------- */

/* Write the uses of a place; a job of the place. False: there is nothing new, or no memory. */
must_check bool tier_index_start(struct place *p, void (*done)(struct tier_job *job));
/* The parts of it: make p->uses, on the loop; write it, on a worker. */
void tier_index_encode(struct place *p);
void tier_index_run(struct tier_job *job);
/* On a worker: `out` is allocated, for tier_index_take(). An index that is wrong is none. */
must_check int tier_index_read(struct disk *disk, void **out, size_t *out_bytes);
/* Uses that were noted, before the files enter the policy in order of their last use. */
void tier_index_take(struct place *p, const void *bytes, size_t len);

/* --- tier_scrub.c ----------------------------------------------------------------------------- */

/* Somebody wants this doubted file: check it now. */
void tier_scrub_want(struct tier_file *f);
/* It is gone: no check of it goes on. */
void tier_scrub_forget(struct tier_file *f);
void tier_scrub_start(struct tiers *t);
void tier_scrub_stop(struct tiers *t);
void tier_scrub_finish(struct tiers *t);

/* --- bits ------------------------------------------------------------------------------------- */

static inline bool tier_bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> (i % 8) & 1;
}

static inline void tier_bit_set(uint8_t *bits, uint64_t i)
{
	bits[i / 8] = (uint8_t)(bits[i / 8] | 1u << (i % 8));
}

static inline uint64_t tier_piece_bytes(uint64_t length, uint64_t piece)
{
	return MIN_OF(TIER_PIECE_BYTES, length - piece * TIER_PIECE_BYTES);
}

#endif
