/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas: limits of bytes and inodes for a directory and all below it, nested to any shape.
 *
 * Each inode's row names the nearest directory above it, or itself, that has a quota (attr.quota;
 * 0: none). A quota's row says limits, what is used, and the next quota above. Whatever changes
 * what an inode holds charges its quota and all above in the same event, so usage is exact after
 * any crash (I3). Bytes are data bytes (fs/tree/root.h): holes cost nothing, and equal content
 * costs as often as it is named. The directory itself is one of its files.
 *
 * A new quota finds content, and one that is taken away leaves some: quota_walk.c gives each inode
 * the tag of its directory, piece by piece, and moves the charge with it. A quota that is being
 * removed, or whose directory is gone, has no limits any more, and ends when nothing is charged to
 * it. Over its limit, as after a lower one, a tree may shrink and not grow.
 */
#include "metadata-server/step_internal.h"

/* 0; -E_NOENT; or what reading rows says. */
int ms_quota_get(struct ms_txn *txn, inode_no dir, struct ms_quota *out)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, dir);
	const void *value;
	uint32_t len;
	int rc = ms_txn_get(txn, key.bytes, key.len, &value, &len);

	return rc < 0 ? rc : ms_key_quota_decode(value, len, out);
}

void ms_quota_put(struct ms_state *state, inode_no dir, const struct ms_quota *quota)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, dir);
	uint8_t value[MS_QUOTA_BYTES];

	if (quota->is_ending && quota->files == 0) {
		ms_txn_del(state->txn, key.bytes, key.len);
		ms_quota_rooms_again(state);
		return;
	}
	ms_key_quota_encode(quota, value);
	ms_txn_put(state->txn, key.bytes, key.len, value, sizeof value);
}

/* --- charging --------------------------------------------------------------------------------- */

struct ms_usage ms_quota_usage(const struct ms_inode *inode)
{
	return (struct ms_usage){ .bytes = ms_inode_is_file(inode)
						   ? (int64_t)root_data_bytes(&inode->attr.root)
						   : 0,
				  .files = 1 };
}

static uint64_t add(uint64_t used, int64_t change)
{
	/* a row that damage made too small ends at nothing; fsck counts it anew */
	return change < 0 && used < (uint64_t)-change ? 0 : used + (uint64_t)change;
}

void ms_quota_charge(struct ms_state *state, inode_no quota, struct ms_usage change)
{
	struct ms_quota q;

	if (change.bytes == 0 && change.files == 0)
		return;
	for (uint32_t depth = 0; quota && depth < MS_QUOTA_DEPTH_MAX; depth++) {
		inode_no dir = quota;

		if (ms_quota_get(state->txn, dir, &q) < 0)
			return;
		q.bytes = add(q.bytes, change.bytes);
		q.files = add(q.files, change.files);
		quota = q.parent;
		ms_quota_put(state, dir, &q);
	}
}

void ms_quota_move(struct ms_state *state, inode_no from, inode_no to, struct ms_usage what)
{
	/* first what comes: a quota above both never falls to nothing in between */
	ms_quota_charge(state, to, what);
	ms_quota_charge(state, from, (struct ms_usage){ -what.bytes, -what.files });
}

/* --- limits ----------------------------------------------------------------------------------- */

int ms_quota_check(struct ms_state *state, const struct ms_session *session, inode_no quota,
		   struct ms_usage growth)
{
	inode_no at = quota;
	struct ms_quota q;

	for (uint32_t depth = 0; at && growth.files > 0 && depth < MS_QUOTA_DEPTH_MAX; depth++) {
		int rc = ms_quota_get(state->txn, at, &q);

		if (rc < 0)
			return rc == -E_NOENT ? 0 : rc;
		if (!q.is_ending && q.files_max && q.files + (uint64_t)growth.files > q.files_max)
			return -E_DQUOT;
		at = q.parent;
	}
	if (growth.bytes <= 0 || !quota)
		return 0;
	return ms_quota_room(state, session, quota) < (uint64_t)growth.bytes ? -E_DQUOT : 0;
}

/* What is left of the nearest limits, for statfs; a limit above may leave less. */
int ms_quota_statfs(struct ms_state *state, inode_no quota, struct ms_reply *reply)
{
	uint64_t bytes_used = 0, files_used = 0;
	bool has_bytes = false, has_files = false;
	struct ms_quota q;

	for (uint32_t depth = 0; quota && depth < MS_QUOTA_DEPTH_MAX; depth++, quota = q.parent) {
		int rc = ms_quota_get(state->txn, quota, &q);

		if (rc < 0)
			return rc == -E_NOENT ? 0 : rc;
		if (q.is_ending)
			continue;
		if (q.bytes_max) {
			bytes_used = has_bytes ? bytes_used : q.bytes;
			has_bytes = true;
			reply->bytes_free = MIN_OF(reply->bytes_free,
						   q.bytes_max - MIN_OF(q.bytes_max, q.bytes));
			reply->bytes_total = bytes_used + reply->bytes_free;
		}
		if (q.files_max) {
			files_used = has_files ? files_used : q.files;
			has_files = true;
			reply->files_free = MIN_OF(reply->files_free,
						   q.files_max - MIN_OF(q.files_max, q.files));
			reply->files = files_used + reply->files_free;
		}
	}
	return 0;
}

/* --- setting ---------------------------------------------------------------------------------- */

static uint32_t depth_of(struct ms_state *state, inode_no quota)
{
	struct ms_quota q;
	uint32_t depth = 0;

	while (quota && depth < MS_QUOTA_DEPTH_MAX && ms_quota_get(state->txn, quota, &q) == 0) {
		quota = q.parent;
		depth++;
	}
	return depth;
}

/*
 * May there be one more? A new one may come between any two, so the deepest of all counts. The few
 * rows are all looked at; setting a quota is rare.
 */
static int check_room(struct ms_state *state)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, 0);
	uint32_t count = 0, deepest = 0;
	struct row row;
	struct rd r;

	while (ms_txn_next(state->txn, key.bytes, key.len, &row) == 0 &&
	       ms_key_is(&row, MS_KEY_QUOTA, &r)) {
		inode_no dir = rd_be64(&r);

		count++;
		deepest = MAX_OF(deepest, depth_of(state, dir));
		key = ms_key_number(MS_KEY_QUOTA, dir + 1);
	}
	return count < MS_QUOTAS_MAX && deepest < MS_QUOTA_DEPTH_MAX ? 0 : -E_MLINK;
}

/* A directory gets its own: it and what is below move from the one above. */
static int begin(struct ms_op *op, struct ms_inode *dir, struct ms_quota *q)
{
	struct ms_state *state = op->state;
	int rc = ms_quota_get(state->txn, dir->attr.ino, q);

	if (rc == -E_NOENT) {
		rc = check_room(state);
		if (rc < 0)
			return rc;
		*q = (struct ms_quota){ .parent = dir->attr.quota };
	} else if (rc < 0) {
		return rc;
	} else if (!q->is_ending) {
		return 0;
	}
	q->is_ending = false;
	ms_quota_put(state, dir->attr.ino, q);
	if (dir->attr.quota != dir->attr.ino)	/* what is above may have changed meanwhile */
		ms_quota_hang(state, dir->attr.ino, dir->attr.quota);
	ms_quota_move(state, dir->attr.quota, dir->attr.ino, ms_quota_usage(dir));
	dir->attr.quota = dir->attr.ino;
	ms_inode_put(state->txn, dir);
	ms_quota_walk_add(state, dir->attr.ino);
	ms_quota_rooms_again(state);
	return ms_quota_get(state->txn, dir->attr.ino, q);
}

/* Its directory belongs to the one above, and what is below follows. */
static int end(struct ms_op *op, struct ms_inode *dir, struct ms_quota *q)
{
	struct ms_state *state = op->state;
	int rc = ms_quota_get(state->txn, dir->attr.ino, q);

	if (rc < 0)
		return rc;
	if (q->is_ending)
		return -E_NOENT;
	q->is_ending = true;
	ms_quota_put(state, dir->attr.ino, q);
	dir->attr.quota = q->parent;
	ms_inode_put(state->txn, dir);
	ms_quota_walk_add(state, dir->attr.ino);
	ms_quota_move(state, dir->attr.ino, q->parent, ms_quota_usage(dir));
	return 0;
}

int ms_quota_set(struct ms_op *op)
{
	const struct ms_request *req = op->req;
	struct ms_inode dir;
	struct ms_quota q;
	int rc = ms_namespace_dir(op, req->ino, &dir);

	if (rc < 0)
		return rc;
	if (req->quota_mask & MS_QUOTA_CLEAR)
		return end(op, &dir, &q);
	if (!(req->quota_mask & (MS_QUOTA_BYTES_MAX | MS_QUOTA_FILES_MAX)))
		return -E_INVAL;
	rc = begin(op, &dir, &q);
	if (rc < 0)
		return rc;
	if (req->quota_mask & MS_QUOTA_BYTES_MAX)
		q.bytes_max = req->size;
	if (req->quota_mask & MS_QUOTA_FILES_MAX)
		q.files_max = req->quota_files;
	ms_quota_put(op->state, dir.attr.ino, &q);
	return 0;
}

static void set_ending(struct ms_state *state, const struct ms_inode *dir, bool is_ending)
{
	struct ms_quota q;

	if (dir->attr.quota != dir->attr.ino ||
	    ms_quota_get(state->txn, dir->attr.ino, &q) < 0)
		return;
	if (q.is_ending == is_ending)
		return;
	q.is_ending = is_ending;
	ms_quota_put(state, dir->attr.ino, &q);
}

void ms_quota_dir_gone(struct ms_state *state, const struct ms_inode *dir)
{
	set_ending(state, dir, true);
}

void ms_quota_dir_back(struct ms_state *state, const struct ms_inode *dir)
{
	set_ending(state, dir, false);
}

/* --- telling ---------------------------------------------------------------------------------- */

static void tell(struct ms_state *state, inode_no dir, const struct ms_quota *q,
		 struct ms_reply *reply)
{
	reply->quotas[reply->quota_count++] =
		(struct ms_quota_info){ .dir = dir, .quota = *q,
					.reserved = ms_quota_reserved(state, dir) };
}

/* With an inode: those that it is charged to, the nearest first. */
static int list_chain(struct ms_op *op, struct ms_reply *reply)
{
	struct ms_inode inode;
	struct ms_quota q;
	int rc = ms_inode_get(op->state->txn, op->req->ino, &inode);

	for (inode_no at = inode.attr.quota;
	     rc == 0 && at && reply->quota_count < MS_QUOTA_DEPTH_MAX; at = q.parent) {
		rc = ms_quota_get(op->state->txn, at, &q);
		if (rc == 0)
			tell(op->state, at, &q, reply);
	}
	reply->end = true;
	return rc == -E_NOENT ? 0 : rc;
}

int ms_quota_list(struct ms_op *op)
{
	struct ms_state *state = op->state;
	struct ms_reply *reply = &op->effect.reply;
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, op->req->cookie);
	struct row row;
	struct rd r;

	reply->quotas = state->quotas;
	reply->is_counting = state->quota_walks;
	if (op->req->ino)
		return list_chain(op, reply);
	while (ms_txn_next(state->txn, key.bytes, key.len, &row) == 0 &&
	       ms_key_is(&row, MS_KEY_QUOTA, &r)) {
		inode_no dir = rd_be64(&r);
		struct ms_quota q;
		int rc = ms_key_quota_decode(row.value, row.value_len, &q);

		if (rc < 0)
			return rc;
		if (reply->quota_count == MS_REPLY_QUOTAS_MAX)
			return 0;
		tell(state, dir, &q, reply);
		key = ms_key_number(MS_KEY_QUOTA, dir + 1);
	}
	reply->end = true;
	return 0;
}

int ms_quota_next_full(struct ms_state *state, uint32_t percent, inode_no *from,
		     struct ms_quota *out)
{
	struct ms_key key = ms_key_number(MS_KEY_QUOTA, *from);
	struct row row;
	struct rd r;

	while (ms_txn_next(state->txn, key.bytes, key.len, &row) == 0 &&
	       ms_key_is(&row, MS_KEY_QUOTA, &r)) {
		*from = rd_be64(&r);
		if (ms_key_quota_decode(row.value, row.value_len, out) == 0 && !out->is_ending &&
		    (ms_quota_percent(out->bytes, out->bytes_max) >= percent ||
		     ms_quota_percent(out->files, out->files_max) >= percent))
			return 0;
		key = ms_key_number(MS_KEY_QUOTA, *from + 1);
	}
	return -E_NOENT;
}
