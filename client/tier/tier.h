/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cache tiers: folders of this node that hold whole decoded files by root, each with a hard limit
 * in bytes. Content is named, so a copy never expires, is shared by all names, clones and versions
 * with equal content, and outlives unmounts. A tier is a cache: whatever happens to it (full,
 * broken, vanished) is told once and costs speed, never an error for a reader.
 *
 * Life of a file: filling (pieces come in any order, from verified blocks) -> sealing (data and
 * sums are synced) -> sealed (renamed, never changed again) -> gone (evicted, found wrong, or
 * detached); who still uses one that is gone goes on. Only sealed files survive a restart; those of
 * an unclean restart of the system are checked against their sums before their first use (I15).
 *
 * On disk, in the folder: "cairn-tier" (version, clean or open; locked by its mount),
 * "filling/NAME", "sealed/NAME", "sums/NAME" (NAME is the root in hex), "index" (uses).
 *
 * Ownership: a reference (find, begin, ref) keeps a file from eviction until it is put. Memory and
 * descriptors are bounded; nothing here waits: I/O runs on the loop's workers.
 * Everything runs on the loop's thread; done() never runs inside the call that caused it.
 */
#ifndef CAIRN_CLIENT_TIER_TIER_H
#define CAIRN_CLIENT_TIER_TIER_H

#include <sys/uio.h>

#include "fs/io/disk.h"
#include "fs/io/loop.h"
#include "fs/tree/root.h"

#define TIER_PLACES_MAX 8u
/* Unit of filling, of sums and of checks; the last piece of a file is shorter. */
#define TIER_PIECE_BYTES MiB(1)

struct tiers;			/* all tiers of one mount */
struct tier_file;		/* one content in one tier */

enum tier_policy { TIER_ADAPTIVE = 0, TIER_LRU, TIER_LFU };

/* One tier, fastest first. */
struct tier_place {
	const char *directory;	/* absolute; "": none that the kernel could read (simulation) */
	/*
	 * On that folder; stays the caller's. NULL: opened (and made) here, and opened anew when
	 * it was lost and has come back: what a mount wants.
	 */
	struct disk *disk;
	uint64_t bytes_max;	/* hard limit of all files in it, filling ones at full length */
	uint64_t keep_free;	/* bytes of the host's file system that stay free */
	bool is_memory;		/* tmpfs: gone after a reboot, and its bytes are RAM */
};

struct tiers_options {
	struct loop *loop;
	const struct tier_place *places;	/* copied */
	uint32_t place_count;
	enum tier_policy policy;
	/* of the operating system's boot: what another one left open is doubted */
	uint64_t boot_id;
	uint64_t scrub_bytes_per_s;		/* background check of sealed files; 0: none */
	/* It can be served from its file now. NULL: not wanted. */
	void (*on_sealed)(void *arg, const struct root *root);
	/* No new use of it: evicted, wrong, or its tier broke. */
	void (*on_gone)(void *arg, const struct root *root);
	void *arg;
};

/* 0, -E_NOMEM, -E_INVAL. A folder that cannot be used is a broken tier, not an error. */
must_check int tiers_create(const struct tiers_options *options, struct tiers **out);
/* Read what the folders hold, on workers; finds answer NULL and begins -E_AGAIN until then. */
void tiers_start(struct tiers *t);
bool tiers_is_ready(const struct tiers *t);
/* Note uses and a clean end; filling files are dropped. done(arg) once. */
void tiers_stop(struct tiers *t, void (*done)(void *arg), void *arg);
/*
 * Also without a stop, as a crash would: then its loop is dead, or nothing is in flight. Transfers
 * and seals under way end in here with -E_CANCELED; what they call may only free what it holds.
 */
void tiers_destroy(struct tiers *t);

/* --- files ------------------------------------------------------------------------------------ */

enum tier_state { TIER_FILLING = 1, TIER_SEALING, TIER_SEALED, TIER_GONE };

/*
 * The content if it is here, in whatever state but gone: a reference; NULL: it is not. What an
 * unclean restart left in doubt is not here yet: a find begins to check it, on_sealed() tells.
 */
struct tier_file *tiers_find(struct tiers *t, const struct root *root);
/*
 * The same bytes have another root now, having been cut at other places: what is here of `of` is of
 * `root` from now on, in whatever state, for those who have a reference as well; its names follow.
 * Nothing happens if `of` is not here, or `root` is.
 */
void tiers_recut(struct tiers *t, const struct root *of, const struct root *root);
/* Sealed and fit for use, without a reference and without counting a use. */
bool tiers_is_sealed(const struct tiers *t, const struct root *root);
/*
 * Begin to fill; room for all of it is made by eviction. A reference. `want_pinned`: it may push
 * out what is not pinned whatever the policy says. The file itself is made, at its full length, by
 * a worker: a disk that is full after all shows in the first tier_write(). -E_EXIST: it is here
 * already (tiers_find); -E_BUSY: it is here in doubt, and being checked; -E_AGAIN: the folders are
 * still being read; -E_NOSPC: it does not fit, or the policy keeps what is there (policy.h): each
 * call counts as a use of the content; -E_NODEV: there is no tier that works.
 */
must_check int tiers_begin(struct tiers *t, const struct root *root, bool want_pinned,
			   struct tier_file **out);
/*
 * A draft: content that is being written and has no root yet; grows in pieces of room. Adopted by
 * tier_adopt(), or dropped with its last reference. Errors as tiers_begin().
 */
must_check int tiers_begin_draft(struct tiers *t, struct tier_file **out);
/*
 * The draft is to become the content of `root`: from now on it is a filling file of that name, of
 * which nothing counts as present until tier_mark() says so. Writes begun before end as writes of a
 * draft. -E_EXIST, -E_NOSPC: drop it.
 */
must_check int tier_adopt(struct tier_file *f, const struct root *root);
struct tier_file *tier_ref(struct tier_file *f);
/* NULL is allowed. What is being filled, and does not seal, goes with its last reference. */
void tier_put(struct tier_file *f);

enum tier_state tier_state(const struct tier_file *f);
const struct root *tier_root(const struct tier_file *f);
uint64_t tier_bytes(const struct tier_file *f);		/* length of the content */
uint64_t tier_present_bytes(const struct tier_file *f);
/* Every byte of [offset, offset + len) may be read from it; of one that is gone, none. */
bool tier_has(const struct tier_file *f, uint64_t offset, uint64_t len);
/* An open, or the like: for eviction and promotion. */
void tier_use(struct tier_file *f);

/* One transfer. Fill file .. done, zero the rest; it and its memory live until done. */
struct tier_io {
	struct tier_file *file;		/* a reference is taken meanwhile */
	uint64_t offset;
	struct iovec *iov;
	uint32_t iov_count;
	void (*done)(struct tier_io *io);
	void *user;
	bool wants_sum;			/* of a write: see tier_mark() */
	uint64_t sum;
	int rc;				/* 0; of a read that failed: fetch it from the cluster */
	struct loop_work work;		/* private from here */
	struct disk_file *disk_file;
	uint64_t *sums;
	uint64_t len;
	bool is_write;
	struct tier_io *prev, *next;
};
/*
 * Write verified bytes: whole pieces (offset a multiple of TIER_PIECE_BYTES, to the end of a piece
 * or of the file), each written once at a time, or of a draft any range. Present once done() said
 * 0. If it fails, the file is gone.
 */
void tier_write(struct tier_io *io);
/*
 * Of a draft that was adopted: this piece was written by one tier_write() with what the root says
 * there, and since then by none; `sum` is of that write. So sums are of what was proved, not of
 * what a disk gave back.
 */
void tier_mark(struct tier_file *f, uint64_t piece, uint64_t sum);
void tier_read(struct tier_io *io);		/* a range that tier_has() */
/*
 * Sync, note the sums, rename. done(arg, rc) once; on_sealed() before it. Nothing is being written
 * to it. -E_INVAL: a piece is missing; any other error: the file is gone.
 */
void tier_seal(struct tier_file *f, void (*done)(void *arg, int rc), void *arg);
/* Give up filling: the file is gone, and its room free once the last reference is put. */
void tier_drop(struct tier_file *f);

/* --- for the mount: passthrough --------------------------------------------------------------- */

/*
 * A descriptor of a sealed file for reading, opened through a read-only clone of its mount, so that
 * no one can change the file through it. The caller closes it. -E_OPNOTSUPP: not on this kernel or
 * place; or what open(2) says.
 */
must_check int tier_open_fd(struct tier_file *f, int *out);
/*
 * This node changes content that is open by passthrough: the file leaves the tier (gone, unlinked;
 * no scrub looks at it any more) and may be changed through `out`. The caller closes it.
 */
must_check int tier_detach_fd(struct tier_file *f, int *out);

/* --- orders and reports ----------------------------------------------------------------------- */

/* Keep it whatever happens, also what comes later under that root; not kept across restarts. */
must_check int tiers_pin(struct tiers *t, const struct root *root, bool pinned);
/* -E_NOENT; -E_BUSY: in use or pinned. */
must_check int tiers_evict(struct tiers *t, const struct root *root);
/* Everything that is not in use or pinned; how many bytes went. */
uint64_t tiers_evict_all(struct tiers *t);
/* Found wrong by whoever read it: it goes, and on_gone() is told. */
void tier_doubt(struct tier_file *f, const char *why);

struct tier_file_info {
	struct root root;
	enum tier_state state;
	uint32_t place;
	bool is_pinned, is_used;
	uint64_t bytes, present_bytes;
	uint64_t uses;
	uint64_t used_wall_ns;		/* last */
};
/* Files in order of their roots, behind *after (NULL: all); fn returns false to stop. */
void tiers_list(const struct tiers *t, const struct root *after,
		bool (*fn)(void *arg, const struct tier_file_info *info), void *arg);

struct tier_place_info {
	const char *directory;
	bool is_memory, is_broken;
	char problem[128];		/* why it is bypassed; "" */
	uint64_t bytes_max, bytes_used, bytes_pinned, keep_free;
	uint64_t files, hits, evictions, evicted_bytes, promotions, demotions;
	uint64_t checked_bytes, wrong;	/* by the scrub */
};
struct tiers_info {
	uint32_t place_count;
	struct tier_place_info places[TIER_PLACES_MAX];
	uint64_t hits, misses;		/* finds by tiers_find() of content that was (not) sealed */
	uint64_t refused;		/* did not fit */
};
void tiers_info(const struct tiers *t, struct tiers_info *out);

#endif
