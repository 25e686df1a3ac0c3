/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Content: publishing a new root (I13), inline bytes, and their move into blocks.
 *
 * The client vouches that every block a root names is synced on min_copies servers (I2); here the
 * version, the shape of the root, the age of its blocks (collection.c) and the space are checked.
 *
 * A move changes where the same bytes lie: neither version nor times change, and no lease is
 * recalled. Who knows the old root and asks for its inline bytes is told STALE_VERSION, and looks
 * again.
 */
#include "metadata-server/step_internal.h"

#define MOVE_EVERY_MS	2000u
#define MOVES_PER_TICK	32u

static bool is_to_be_moved(const struct root *root)
{
	return root->kind == ROOT_INLINE && root->length > INLINE_KEEP_BYTES_MAX;
}

/* Data bytes that an inode holds more with this content. */
static int64_t growth(const struct ms_inode *inode, const struct root *root)
{
	return (int64_t)(root_data_bytes(root) - root_data_bytes(&inode->attr.root));
}

void ms_publish_content(struct ms_state *state, struct ms_inode *inode, const struct root *root,
			const uint8_t *bytes)
{
	struct ms_key key = ms_key_number(MS_KEY_BYTES, inode->attr.ino);
	struct ms_key move = ms_key_number(MS_KEY_MOVE, inode->attr.ino);

	if (root->kind == ROOT_INLINE)
		ms_txn_put(state->txn, key.bytes, key.len, bytes, (uint32_t)root->length);
	else if (inode->attr.root.kind == ROOT_INLINE)
		ms_txn_del(state->txn, key.bytes, key.len);
	if (is_to_be_moved(root) && !is_to_be_moved(&inode->attr.root))
		ms_txn_put(state->txn, move.bytes, move.len, "", 0);
	else if (!is_to_be_moved(root) && is_to_be_moved(&inode->attr.root))
		ms_txn_del(state->txn, move.bytes, move.len);
	ms_quota_charge(state, inode->attr.quota,
			(struct ms_usage){ .bytes = growth(inode, root) });
	inode->attr.root = *root;
	inode->attr.recut_of = (struct root){ .kind = ROOT_EMPTY };
	inode->attr.size = root->length;
}

static int check_root(const struct ms_op *op)
{
	const struct root *root = &op->req->root;
	uint8_t bytes[ROOT_BYTES];
	struct root again;

	root_encode(root, bytes);
	if (root_decode(bytes, &again) < 0)
		return -E_INVAL;
	if (root->kind != ROOT_INLINE)
		return op->req->bulk_len == 0 ? 0 : -E_INVAL;
	if (root->length > op->state->config.inline_bytes_max)
		return -E_TOOBIG;
	return op->req->bulk_len == root->length ? 0 : -E_INVAL;
}

/*
 * The ctime is that of the write, not of its publish: the writer has shown it, and a look of
 * others, which only makes him publish, changes nothing. What a user sets with it is a change of
 * now, and tells nothing of when he wrote: its mtime_ns may be his.
 */
static void touch(struct ms_inode *inode, const struct ms_request *req, uint64_t wall_ns)
{
	int64_t ctime_ns = inode->attr.ctime_ns;

	ms_inode_touch(inode, wall_ns, true);
	if (req->mtime_ns == 0)
		return;
	inode->attr.mtime_ns = req->mtime_ns;
	if (req->mask == 0)
		inode->attr.ctime_ns = MAX_OF(ctime_ns, req->mtime_ns);
}

static void store(struct ms_op *op, struct ms_inode *inode)
{
	const struct ms_request *req = op->req;
	struct ms_state *state = op->state;
	uint64_t old_size = inode->attr.size;
	int64_t more = growth(inode, &req->root);

	ms_publish_content(state, inode, &req->root, req->bulk);
	if (more > 0)
		ms_quota_settle(state, op->session, inode->attr.quota, (uint64_t)more);
	touch(inode, req, state->wall_ns);
	if (req->kill_priv)
		ms_inode_kill_priv(inode, req->kill_priv);
	ms_xattr_drop_capability(state, inode);		/* whoever writes */
	if (req->mask)
		ms_attr_change(op, inode);
	ms_inode_put(state->txn, inode);
	state->counters.bytes_logical += inode->attr.size - old_size;
	if (root_has_blocks(&req->root))
		state->counters.flags |= MS_COUNTERS_PUBLISHED;
	ms_step_counters_put(state);
	ms_space_settle(state, op->session, req->new_bytes);
	if (is_to_be_moved(&req->root))
		ms_step_emit(state, &(struct ms_effect){ .kind = MS_FX_MOVE_INLINE,
			.ino = inode->attr.ino, .version = inode->attr.version });
}

int ms_publish(struct ms_op *op)
{
	struct ms_reply *reply = &op->effect.reply;
	struct ms_inode inode;
	int rc = check_root(op);

	if (rc == 0)
		rc = ms_inode_get(op->state->txn, op->req->ino, &inode);
	if (rc < 0)
		return rc;
	if (!ms_inode_is_file(&inode))
		return ms_inode_is_dir(&inode) ? -E_ISDIR : -E_INVAL;
	if (op->req->recut_of.kind != ROOT_EMPTY)
		return ms_recut(op, &inode);
	rc = op->req->mask ? ms_attr_may_set(op->req, &inode) : 0;
	if (rc < 0)
		return rc;
	op->changes_owner = (op->req->mask & (MS_SET_UID | MS_SET_GID)) != 0;
	ms_lease_want(op, op->req->ino, 0, MS_LEASE_WRITE);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	reply->attr = inode.attr;
	if (inode.attr.version != op->req->base_version)
		return -E_STALE_VERSION;	/* I13: with the present root to build on */
	rc = ms_collection_check(op);
	if (rc == 0)
		rc = ms_quota_check(op->state, op->session, inode.attr.quota,
				    (struct ms_usage){ .bytes = growth(&inode, &op->req->root) });
	if (rc < 0)
		return rc;
	store(op, &inode);
	reply->attr = inode.attr;
	return 0;
}

int ms_publish_inline(struct ms_state *state, inode_no ino, uint64_t version, struct ms_attr *attr,
		      const void **bytes, uint32_t *len)
{
	struct ms_key key = ms_key_number(MS_KEY_BYTES, ino);
	struct ms_inode inode;
	int rc = ms_inode_get(state->txn, ino, &inode);

	if (rc < 0)
		return rc;
	*attr = inode.attr;
	if (attr->version != version || attr->root.kind != ROOT_INLINE)
		return -E_STALE_VERSION;
	rc = ms_txn_get(state->txn, key.bytes, key.len, bytes, len);
	if (rc < 0 || *len != attr->root.length)
		return rc < 0 && rc != -E_NOENT ? rc : -E_CORRUPT;
	return 0;
}

int ms_publish_get_inline(struct ms_op *op)
{
	struct ms_reply *reply = &op->effect.reply;
	const void *value = NULL;
	uint32_t len = 0;
	int rc;

	ms_lease_want(op, op->req->ino, 0, MS_LEASE_READ);
	if (ms_lease_is_blocked(op))
		return MS_OP_PARKED;
	rc = ms_publish_inline(op->state, op->req->ino, op->req->base_version, &reply->attr, &value,
			       &len);
	if (rc < 0)
		return rc;
	reply->bulk = value;
	reply->bulk_len = len;
	return 0;
}

/*
 * The mover has put the bytes into blocks, synced (I2). If the inode changed meanwhile, they are
 * garbage.
 */
void ms_publish_moved(struct ms_state *state, const struct ms_request *req)
{
	struct ms_inode inode;
	uint64_t size;

	if (ms_inode_get(state->txn, req->ino, &inode) < 0 ||
	    inode.attr.version != req->base_version || inode.attr.root.kind != ROOT_INLINE)
		return;
	if (ms_collection_is_old(state, &req->root, req->collection))
		return;			/* I9; it is named again, and put again */
	ASSERT(req->root.length == inode.attr.root.length);
	size = inode.attr.size;		/* may be larger than the root: a hole at the end */
	ms_publish_content(state, &inode, &req->root, NULL);
	inode.attr.size = size;
	ms_inode_put(state->txn, &inode);
	state->counters.flags |= MS_COUNTERS_PUBLISHED;
	ms_step_counters_put(state);
}

/*
 * Name again what is still to be moved, in turn: the mover may have failed, or the server
 * restarted.
 */
void ms_publish_tick(struct ms_state *state)
{
	uint32_t named = 0;
	struct row row;
	struct rd r;

	if (state->now_ms < state->move_next_ms || state->is_recovering)
		return;
	state->move_next_ms = state->now_ms + MOVE_EVERY_MS;
	while (named++ < MOVES_PER_TICK) {
		struct ms_key key = ms_key_number(MS_KEY_MOVE, state->move_from);
		struct ms_inode inode;
		inode_no ino;

		if (ms_txn_next(state->txn, key.bytes, key.len, &row) < 0 ||
		    !ms_key_is(&row, MS_KEY_MOVE, &r)) {
			state->move_from = 0;
			return;
		}
		ino = rd_be64(&r);
		state->move_from = ino + 1;
		if (ms_inode_get(state->txn, ino, &inode) == 0)
			ms_step_emit(state, &(struct ms_effect){.kind = MS_FX_MOVE_INLINE,
								.ino = ino,
								.version = inode.attr.version});
	}
}
