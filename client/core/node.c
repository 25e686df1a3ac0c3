/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inodes under lease: a bounded table in order of use; see node.h.
 *
 * A lease granted by a reply counts only if no lease was returned since its request was sent: the
 * server may have seen the return after the grant.
 */
#include "client/core/node.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <utlist.h>

#include "client/core/atime.h"
#include "client/core/file.h"
#include "client/core/pins.h"
#include "client/core/tiered.h"

#define NS_PER_S INT64_C(1000000000)

/* --- nodes ------------------------------------------------------------------------------------ */

static bool node_is_used(const struct cl_node *node)
{
	return node->file || node->readers || node->writers || node->is_opening ||
	       node->has_open_read || node->has_open_write || node->is_idle_open ||
	       node->releasing || node->is_recalling || node->is_sealing || node->turn_recalls ||
	       node->read_ns || node->ino == INODE_ROOT;
}

static void node_free(struct client *c, struct cl_node *node)
{
	cl_atime_forget(c, node);
	HASH_DEL(c->nodes, node);
	DL_DELETE(c->node_lru, node);
	c->node_count--;
	free(node->target);
	free(node->name_hint);
	free(node);
}

static void node_evict(struct client *c, struct cl_node *node, struct cl_returns **returns)
{
	if (node->lookups && node->lease != CL_LEASE_NONE && c->options.on_inval_attr)
		c->options.on_inval_attr(c->options.arg, node->ino);
	cl_node_dir_lost(c, node);
	if (node->lease != CL_LEASE_NONE)
		cl_lease_return(c, returns, node->ino, 0);
	node_free(c, node);
}

/*
 * Make room, many at a time: each return of leases costs the grants that cross it. What the kernel
 * has forgotten goes first, then whatever was used longest ago.
 */
static void nodes_trim(struct client *c)
{
	struct cl_returns *returns = NULL;
	if (c->node_count < CL_NODES_MAX)
		return;
	const uint32_t goal = CL_NODES_MAX - CL_TRIM_COUNT;
	for (unsigned pass = 0; pass < 2 && c->node_count > goal; pass++) {
		struct cl_node *node, *next;
		unsigned seen = 0;
		DL_FOREACH_SAFE(c->node_lru, node, next) {
			if (seen++ == 2 * CL_TRIM_COUNT || c->node_count <= goal)
				break;
			if (!node_is_used(node) && (pass == 1 || node->lookups == 0))
				node_evict(c, node, &returns);
		}
	}
	cl_lease_return_end(c, &returns);
}

struct cl_node *cl_node_find(struct client *c, inode_no ino)
{
	struct cl_node *node;
	HASH_FIND(hh, c->nodes, &ino, sizeof ino, node);
	if (node) {
		DL_DELETE(c->node_lru, node);
		DL_APPEND(c->node_lru, node);
	}
	return node;
}

struct cl_node *cl_node_get(struct client *c, inode_no ino)
{
	struct cl_node *node = cl_node_find(c, ino);
	if (node)
		return node;
	nodes_trim(c);
	node = calloc(1, sizeof *node);
	if (!node)
		return NULL;
	node->ino = ino;
	HASH_ADD(hh, c->nodes, ino, sizeof node->ino, node);
	if (!node->hh.tbl) {
		free(node);
		return NULL;
	}
	DL_APPEND(c->node_lru, node);
	c->node_count++;
	return node;
}

void cl_node_forget(struct client *c, inode_no ino, uint64_t lookups)
{
	struct cl_node *node;
	HASH_FIND(hh, c->nodes, &ino, sizeof ino, node);
	if (node)
		node->lookups -= MIN_OF(lookups, node->lookups);
}

struct timespec cl_node_time_of_ns(int64_t ns)
{
	struct timespec t = { ns / NS_PER_S, ns % NS_PER_S };
	if (t.tv_nsec < 0) {		/* before 1970 */
		t.tv_sec--;
		t.tv_nsec += NS_PER_S;
	}
	return t;
}

int64_t cl_node_ns_of_time(const struct timespec *t)
{
	if (t->tv_sec >= INT64_MAX / NS_PER_S)
		return INT64_MAX;
	if (t->tv_sec <= INT64_MIN / NS_PER_S)
		return INT64_MIN;
	return (int64_t)t->tv_sec * NS_PER_S + t->tv_nsec;
}

/* Attr.flags of cairn.proto */
#define ATTR_FLAG_ACL	 1u
#define ATTR_FLAG_XATTRS 2u

static blkcnt_t blocks_of(uint64_t data_bytes)
{
	return (blkcnt_t)DIV_CEIL(data_bytes, 512);
}

/* out->root is there already. */
static void attr_of_wire(const Wire__Attr *in, struct cl_attr *out)
{
	struct stat *st = &out->st;
	memset(st, 0, sizeof *st);
	st->st_ino = in->ino;
	st->st_mode = in->mode;
	st->st_uid = in->uid;
	st->st_gid = in->gid;
	st->st_nlink = in->nlink;
	st->st_rdev = in->rdev;
	st->st_size = (off_t)in->size;
	st->st_blksize = (blksize_t)MiB(1);
	st->st_blocks = blocks_of(S_ISREG(in->mode) ? root_data_bytes(&out->root) : in->size);
	st->st_atim = cl_node_time_of_ns(in->atime_ns);
	st->st_mtim = cl_node_time_of_ns(in->mtime_ns);
	st->st_ctim = cl_node_time_of_ns(in->ctime_ns);
	out->btime_ns = in->btime_ns;
	out->version = in->version;
	out->has_acl = (in->flags & ATTR_FLAG_ACL) != 0;
	out->has_xattrs = (in->flags & ATTR_FLAG_XATTRS) != 0;
	out->quota = in->quota;
}

int cl_node_take_attr(struct client *c, const Wire__Attr *attr, struct cl_node **out)
{
	struct cl_attr fresh = { .valid_ms = 0 };
	if (!attr || attr->ino == 0 || attr->size > FILE_BYTES_MAX)
		return -E_MALFORMED;
	if (attr->root.len == ROOT_BYTES) {
		int rc = root_decode(attr->root.data, &fresh.root);
		if (rc < 0)
			return rc;
	} else if (attr->root.len != 0) {
		return -E_MALFORMED;
	}
	if (attr->recut_of.len == ROOT_BYTES) {
		int rc = root_decode(attr->recut_of.data, &fresh.recut_of);
		if (rc < 0 || !root_is_recut(&fresh.recut_of, &fresh.root))
			return -E_MALFORMED;
	}
	struct cl_node *node = cl_node_get(c, attr->ino);
	if (!node)
		return -E_NOMEM;
	if (out)
		*out = node;
	if (node->has_attr && node->attr.version > attr->version)
		return 0;	/* a later answer overtook this one */
	attr_of_wire(attr, &fresh);
	if (fresh.recut_of.kind != ROOT_EMPTY)
		cl_tiered_recut(c, node, &fresh.recut_of, &fresh.root);
	if (!root_equal(&node->attr.root, &fresh.root) || fresh.st.st_nlink == 0)
		cl_pins_changed(c->pins, node->ino);
	node->attr = fresh;
	node->has_attr = true;
	node->is_outdated = false;
	return 0;
}

void cl_node_outdate(struct client *c, inode_no ino)
{
	struct cl_node *node = ino ? cl_node_find(c, ino) : NULL;
	if (node)
		node->is_outdated = true;
}

void cl_node_take_lease(struct cl_req *req, const Wire__Lease *lease)
{
	struct client *c = req->client;
	if (lease->name_hash != 0 || lease->mode > CL_LEASE_WRITE)
		return;
	if (req->return_count != c->session.return_count || req->call.session != c->session.number)
		return;
	struct cl_node *node = cl_node_find(c, lease->ino);
	if (node && !node->is_recalling && lease->mode > node->lease) {
		node->lease = (enum cl_lease)lease->mode;
		node->is_open_elsewhere = lease->open_elsewhere;
	}
}

int cl_node_take_reply(struct cl_req *req, struct cl_node **out)
{
	const Wire__NodeReply *reply = (const void *)req->call.reply;
	struct client *c = req->client;
	if (req->call.rc < 0)
		return req->call.rc;
	if (!reply)
		return -E_MALFORMED;
	cl_session_stamp(c, reply->stamp);
	if (reply->attr) {
		int rc = cl_node_take_attr(c, reply->attr, out);
		if (rc < 0)
			return rc;
	} else if (out) {
		return -E_MALFORMED;
	}
	if (reply->parent) {
		int rc = cl_node_take_attr(c, reply->parent, NULL);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < reply->n_leases; i++)
		cl_node_take_lease(req, reply->leases[i]);
	return 0;
}

void cl_node_show(struct client *c, const struct cl_node *node, struct cl_attr *out)
{
	*out = node->attr;
	const struct cl_file *file = node->file;
	if (file && file->is_loaded && cl_file_is_dirty(file) && !file->is_alone) {
		/* as the publish will set them */
		out->st.st_size = (off_t)file->size;
		out->st.st_blocks = blocks_of(cl_file_data_bytes(file, file->size));
		out->st.st_mtim = cl_node_time_of_ns(file->mtime_ns);
		if (file->mtime_ns > cl_node_ns_of_time(&out->st.st_ctim))
			out->st.st_ctim = out->st.st_mtim;
		out->st.st_mode = cl_file_kill_mode(out->st.st_mode,
						    file->kill_priv | file->flush.kill_priv);
	}
	if (node->read_ns)
		out->st.st_atim = cl_node_time_of_ns(node->read_ns);
	bool is_ours = node->lease != CL_LEASE_NONE && !node->is_recalling && !node->is_outdated;
	out->valid_ms = is_ours ? cl_session_valid_ms(c) : 0;
}

bool cl_node_is_fresh(struct client *c, const struct cl_node *node)
{
	return node && node->has_attr && !node->is_outdated && node->lease != CL_LEASE_NONE &&
	       cl_session_is_valid(c);
}

bool cl_node_can_write(struct client *c, const struct cl_node *node)
{
	return node->has_attr && node->lease == CL_LEASE_WRITE && cl_session_is_valid(c);
}

/* --- all of them ------------------------------------------------------------------------------ */

void cl_node_drop_leases(struct client *c)
{
	struct cl_node *node, *next;
	HASH_ITER(hh, c->nodes, node, next) {
		bool held = node->lease != CL_LEASE_NONE;
		node->lease = CL_LEASE_NONE;
		/* a server that lost changes tells of an older version now */
		node->has_attr = false;
		cl_node_pages_unknown(node);
		if (held && node->lookups && c->options.on_inval_attr)
			c->options.on_inval_attr(c->options.arg, node->ino);
	}
	cl_node_drop_names(c);
}

void cl_node_finish(struct client *c)
{
	cl_node_names_finish(c);
	while (c->node_lru)
		node_free(c, c->node_lru);
}
