/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to fsck_*.c: one offline check in work, and its phases in their order.
 *
 * Tables that grow with the file system are rows in a scratch folder (LMDB), so memory is 56 bytes
 * an inode and nothing per block.
 */
#ifndef CAIRN_TOOLS_FSCK_INTERNAL_H
#define CAIRN_TOOLS_FSCK_INTERNAL_H

#include <limits.h>
#include <stdio.h>

#include "fs/disk/acl.h"
#include "fs/disk/segment.h"
#include "fs/disk/super.h"
#include "fs/io/disk.h"
#include "fs/io/rows.h"
#include "fs/placement/map.h"
#include "fs/tree/manifest.h"
#include "metadata-server/acl.h"
#include "metadata-server/inode.h"
#include "tools/fsck_report.h"

struct tree_attr; /* tools/tree_reader.h */
struct tree_reader;

struct fsck_dir { /* a metadata, journal or chunk directory */
	const char *path;
	struct disk *disk; /* NULL: cannot be used */
	struct super super;
	bool is_good;	       /* superblock read, of this cluster, locked */
	bool has_bad_super;    /* opened and locked, but its superblock is not known */
	bool has_bad_journal;  /* metadata: its journal alone cannot be read to its end */
	uint64_t journal_last; /* metadata: number of its last record */
	server_no server;      /* chunk disk; 0: of no server in the map */
	uint64_t last_segment; /* chunk disk: highest number seen */
	bool last_is_open;     /* chunk disk: that one has no footer yet */
	bool last_is_empty;    /* chunk disk: that one was only being made */
	bool is_mended;	       /* chunk disk: repair added to it, or its index is wrong: it is to be
				  dropped */
	bool has_bad_index;    /* chunk disk */
	/* chunk disk: its server would keep the index, and it agrees with the segments */
	bool has_index;
	/* chunk disk: of segments below this one the index claims to know all */
	uint64_t indexed_segment;
	bool has_no_segments;  /* chunk disk: not even the folder */
};

/* Address space of one scratch table. The thread sanitizer takes most of it for itself. */
#ifdef __SANITIZE_THREAD__
#define FSCK_ROWS_BYTES_MAX GiB(64)
#else
#define FSCK_ROWS_BYTES_MAX GiB(4096)
#endif

/* Facts about one inode that rows of other types are compared with. */
struct fsck_inode {
	inode_no ino;
	inode_no dir;	 /* a directory that names it; 0: none does */
	inode_no parent; /* of a directory, as its row says */
	uint32_t nlink, names, subdirs;
	uint32_t bytes_wanted; /* length of its bytes row; 0: none */
	uint16_t mode;
	uint16_t xattrs; /* without ACLs */
	uint16_t flags; /* FSCK_INODE_* */
	uint8_t acls;
	uint8_t walk;  /* of the search for cycles: 0 new, 1 on the way, 2 reaches the root, 3 does
			  not */
	uint16_t quota; /* that it is charged to, by its place (fsck_quota.c); 0: none */
};
_Static_assert(sizeof(struct fsck_inode) <= 56, "one for each inode of the file system");
#define FSCK_INODE_MOVE	      1u /* wants a move row */
#define FSCK_INODE_HAS_BYTES  2u
#define FSCK_INODE_HAS_MOVE   4u
#define FSCK_INODE_HAS_ORPHAN 8u
#define FSCK_INODE_BAD_BYTES  32u /* has a bytes row of a wrong length */
#define FSCK_INODE_XATTRS     16u /* its row says that it has extended attributes, */
#define FSCK_INODE_ACL	      128u /* or an ACL */
#define FSCK_INODE_IN_TRASH   512u  /* by its own row */
#define FSCK_INODE_HAS_TRASH  1024u /* a row of a trash says so */
#define FSCK_INODE_HIDDEN     256u /* a row stands for its name: a clone that is not shown */
#define FSCK_INODE_NAME_SEEN  64u /* a directory of which repair has seen the name that stays */

/* What the rows come to, and what the rows that tell it say. */
struct fsck_sums {
	struct ms_counters stored, found;
	bool has_counters, has_map, has_collection;
	struct ms_map_value map_value;
	inode_no inode_max;
	uint32_t pgs, pgs_bad;
	uint64_t epoch_max;
	server_no last_server;
};

struct fsck {
	const struct fsck_options *options;
	struct fsck_report report;
	struct fsck_dir metadata[FSCK_METADATA_DIRS_MAX];
	struct fsck_dir disks[FSCK_DISKS_MAX];
	struct super super; /* of the cluster */
	bool has_super;
	char scratch[PATH_MAX];
	struct rows *state;    /* snapshot and journal; NULL: they cannot be read */
	struct rows *index;    /* what the segments hold (fsck_index.c) */
	uint64_t term, number; /* of the state */
	struct map *map;
	struct fsck_inode *inodes; /* by number */
	uint64_t inode_count, inode_capacity;
	struct fsck_quotas *quotas; /* NULL: there are none */
	struct fsck_sums sums;
	uint64_t segment_bytes; /* of all files, for the progress */
	struct codec_scratch *codec;
	uint8_t *record, *plain; /* RECORD_BYTES_MAX each */
	FILE *told; /* in a child: what it says to us */
	uint64_t indexed;	 /* changes of the index since its last commit */

	/* what repair can do, and how many faults that mends */
	struct fsck_reseal {
		uint32_t disk;
		uint64_t segment;
		bool is_foreign; /* of another disk: out of the way with it */
	} * reseals;
	uint32_t reseal_count, reseal_capacity;
	struct fsck_reseal *reheads; /* whose headers are damaged, or are of another disk */
	uint32_t rehead_count, rehead_capacity;
	bool journal_is_torn, has_bad_snapshot, has_bad_view;
	bool has_bad_journal; /* in a directory at least */
	bool journals_differ; /* those that can be read do not come together */
	uint64_t term_max, number_max; /* that anything here has seen */
	uint64_t view_number;
	bool view_was_compared, view_differs;
	uint64_t rows_mended;
	/* records are lost: numbers may have been given out that the state does not know */
	bool has_holes;
	bool is_salvaged; /* the state has holes; repair may make it the truth */
};

#define FSCK_REPLACED_DIR "replaced" /* what repair took out of the way */

/* Phases. 0, also when faults were found; an error: the check cannot go on. */
must_check int fsck_metadata(struct fsck *f,
			     struct error *err); /* superblocks, journal, snapshots, state */
/*
 * A view that a crash left behind the journal is compared while the state is built: where does it
 * stand, and, when the state has come there, are they the same?
 */
void fsck_view_find(struct fsck *f); /* f->view_number; 0: there is none to be compared */
void fsck_view_compare_here(struct fsck *f);
must_check int fsck_view(struct fsck *f, struct error *err);
must_check int fsck_rows(struct fsck *f, struct error *err);
/* The facts once more, after the state was changed; says nothing. */
must_check int fsck_rows_again(struct fsck *f, struct error *err);
/* Quotas (fsck_quota.c): facts from the rows, what they come to, and rows that are right. */
#define FSCK_QUOTAS_MAX 65535u
must_check int fsck_quota_take_inode(struct fsck *f, struct fsck_inode *i,
				     const struct ms_attr *attr);
must_check bool fsck_quota_take_row(struct fsck *f, const struct row *row, struct rd *r);
must_check bool fsck_quota_take_walk(struct fsck *f, const struct row *row, struct rd *r);
void fsck_quota_check(struct fsck *f);
uint32_t fsck_quota_mend(struct fsck *f, struct ms_txn *txn);	/* rows changed */
void fsck_quota_forget(struct fsck *f);
/* Repair the state in the scratch tables; f->rows_mended counts the changes. */
must_check int fsck_mend(struct fsck *f, struct error *err);
/*
 * Apply every record behind f->number that any directory can still give, in order, over what is
 * missing. 1: the state is as good as it gets, and its holes are told; 0: there is nothing to go on
 * from.
 */
must_check int fsck_salvage(struct fsck *f, bool has_snapshot, struct error *err);
/* The state, as it is now, becomes the truth of every metadata directory. */
must_check int fsck_truth_write(struct fsck *f, struct error *err);
/* Superblocks that can be known are written again. */
must_check int fsck_supers(struct fsck *f, struct error *err);
must_check int fsck_disks_open(struct fsck *f, struct error *err); /* superblocks and locks */
must_check int fsck_disks(struct fsck *f, struct error *err);
must_check int fsck_view_indexes(struct fsck *f, struct error *err);
must_check int fsck_content(struct fsck *f, struct error *err);
must_check int fsck_repair(struct fsck *f, struct error *err);

/*
 * Open and lock a directory, and read its superblock by `read`: 1; 0 if that is damaged, which is a
 * fault. -E_BUSY: its server runs. A read-only file system needs no lock.
 */
typedef int (*fsck_super_fn)(struct disk *disk, struct super *out, struct error *err);
must_check int fsck_open(struct fsck *f, struct fsck_dir *dir, fsck_super_fn read,
			 struct error *err);

/* Buffers and scratch tables, for both kinds of check; and their end. */
must_check int fsck_begin(struct fsck *f, const struct fsck_options *options,
			  struct fsck_result *result, struct error *err);
void fsck_end(struct fsck *f);

/* --- rows of the state ------------------------------------------------------------------------ */

/* Gather what a row says, and tell what is wrong with it; an error: the check cannot go on. */
must_check int fsck_rows_take(struct fsck *f, const struct row *row);
/* Tell a fault of an inode, by its path. */
void fsck_inode_fault(struct fsck *f, enum fsck_class c, inode_no ino, const char *text);
/* What an ACL's row is worth; its mode may differ from that of its inode. */
enum fsck_acl { FSCK_ACL_GOOD, FSCK_ACL_BAD, FSCK_ACL_MODE };
enum fsck_acl fsck_rows_acl(const struct fsck *f, const struct fsck_inode *i, struct ms_name name,
			    const struct row *row, struct acl *out);
/* fsck_trash.c: what is wrong with a row of a trash, `r` behind its type; NULL: nothing is. */
const char *fsck_trash_fault(struct fsck *f, const struct row *row, struct rd *r);
/* Its count set to what was found; false: it is not the count that is wrong. */
bool fsck_trash_count(struct fsck *f, struct ms_txn *txn, const struct row *row);
/* The facts of an inode; NULL: there is none. */
struct fsck_inode *fsck_rows_find(struct fsck *f, inode_no ino);
/* A path of the inode for messages, "/models/x", or "inode 7" if no name leads to it. */
char *fsck_rows_path(struct fsck *f, inode_no ino, char out[PATH_MAX]);

/* --- the index: which copies of a block there are --------------------------------------------- */

enum fsck_copy_state { FSCK_COPY_GOOD = 1, FSCK_COPY_BAD = 2 };

struct fsck_copy {
	struct block_id id;
	uint32_t disk; /* index into f->disks */
	uint64_t segment, offset;
	uint32_t length, plain_len;
	enum fsck_copy_state state;
};
must_check int fsck_index_put(struct fsck *f, const struct fsck_copy *copy);
/* The next copy of copy->id behind *copy; start with disk, segment and offset 0. -E_NOENT at the
 * end. */
must_check int fsck_index_next(struct fsck *f, struct fsck_copy *copy, bool first);
/* The next bad copy of any block; -E_NOENT at the end. */
must_check int fsck_index_next_bad(struct fsck *f, struct fsck_copy *copy, bool first);
/* In the rows of an index: the copy at this place, -E_NOENT. */
must_check int fsck_index_find(struct rows *index, struct fsck_copy *copy);
/* Is there a good copy of this block, on this disk or on any? */
bool fsck_index_has_good(struct fsck *f, const struct fsck_copy *like, bool same_disk);
/* Read and verify a block from any good copy into f->record and f->plain; *record_bytes is the
 * length of the record. */
must_check int fsck_index_read(struct fsck *f, const struct block_id *id, struct record *out,
			       uint32_t *record_bytes);
/* The disk's own index leads to this copy. */
must_check int fsck_index_known(struct fsck *f, const struct fsck_copy *copy);
bool fsck_index_is_known(struct fsck *f, const struct fsck_copy *copy);
/* Live: an inode, and the names that were seen of it. */
struct fsck_links {
	inode_no ino;
	uint64_t version;
	uint32_t nlink, names, subdirs;
	bool is_dir;
	bool is_suspect; /* the counts did not agree when last looked at */
	char path[256];		  /* its first name, cut if it is long */
};
/* all zero: new */
must_check int fsck_index_links_get(struct fsck *f, inode_no ino, struct fsck_links *out);
must_check int fsck_index_links_put(struct fsck *f, const struct fsck_links *links);
/* behind links->ino; -E_NOENT */
must_check int fsck_index_links_next(struct fsck *f, struct fsck_links *links);
/* Live (fsck_live_links.c): `attr` was found under a name in `dir`, whose path that is. */
must_check int fsck_live_links_take(struct fsck *f, inode_no dir, const char *path,
				    const struct tree_attr *attr);
/* After all were taken: tell the inodes that say another number of links than they have. */
must_check int fsck_live_links_check(struct fsck *f, struct tree_reader *reader, struct error *err);
/* Owed: `server` is known to lack the block. */
must_check int fsck_index_owe(struct fsck *f, const struct block_id *id, server_no server,
			      bool owed);
bool fsck_index_is_owed(struct fsck *f, const struct block_id *id, server_no server);
/* Work for repair: give the block to this disk. */
must_check int fsck_index_want(struct fsck *f, const struct block_id *id, uint32_t disk);
/* The first wanted (disk, id) at or behind the given; -E_NOENT. */
must_check int fsck_index_next_wanted(struct fsck *f, uint32_t *disk, struct block_id *id);
/* Marks of the walk: has this node, at this level and with these sums, been proved? */
bool fsck_index_is_proved(struct fsck *f, uint8_t level, const struct node_entry *node);
must_check int fsck_index_prove(struct fsck *f, uint8_t level, const struct node_entry *node);

#endif
