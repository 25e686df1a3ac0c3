/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May a discardable view (a directory of rows_lmdb) be kept? The rule of I15, in one small text
 * file "view" beside the view's own files.
 *
 * The rows are never synced while they are used. So they may be kept after a crash of the process,
 * whose written pages the running system still has, and after a clean close, which syncs them;
 * never after the system itself went down. The file says which: "open" with the boot id of the
 * system, or "clean"; or "building", of a view that was discarded and whose rebuilding may have
 * been interrupted.
 *
 * A view lies in memory that the disk fills: a page that it cannot give ends the process (exit
 * status 1), after the file was removed, so that the next start builds the view again, and does not
 * meet that page once more.
 *
 * Sequence: view_open(); rows_lmdb_create(); if it was not trusted: rebuild, rows_commit(),
 * view_built(); use; rows_destroy(); view_close_clean(). Whoever leaves it without
 * view_close_clean(), on purpose or by a crash, leaves it open (or building). One owner at a time,
 * by other means (disk_lock). The other half of I15, that a view is not beyond the end of its
 * truth, is the owner's: it compares the position that it keeps in its rows, and clears them
 * (rows_clear). Synchronous, at start-up and at the end; threads: one for each view.
 */
#ifndef CAIRN_FS_IO_VIEW_H
#define CAIRN_FS_IO_VIEW_H

#include "fs/base/base.h"

/*
 * How far the truth had come when the view was closed cleanly; what the numbers mean is the
 * owner's.
 */
struct view_position { uint64_t major, minor; };

struct view_state {
	bool is_trusted;		/* false: the view was emptied, rebuild it */
	bool was_closed;		/* cleanly: `position` is what was given then, else 0, 0 */
	struct view_position position;
};

/*
 * Decide about the view in `directory` (made if absent), discard it if it cannot be trusted, and
 * mark it open (or building), durably, before anyone changes it. 0 or what the disk says.
 */
must_check int view_open(const char *directory, struct view_state *out);
/* The rebuilt rows are committed: from now on they are worth keeping. */
must_check int view_built(const char *directory);
/* After rows_destroy(): sync the view, then mark it clean. An error leaves it marked open. */
must_check int view_close_clean(const char *directory, struct view_position position);

/* What view_open() would decide, with nothing changed (fsck). -E_NOENT: there is no view. */
must_check int view_peek(const char *directory, struct view_state *out);

#endif
