/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings: entries come with attributes and leases, so that whoever asks for each file next finds
 * it known. A directory that was listed from one end to the other, while its lease was ours and no
 * name of it was lost again, is complete (node.h).
 *
 * The kernel may answer the next listing from its own pages while what it was told of the entries
 * holds; beyond that, to list anew is cheaper than to be asked for each of them.
 */
#include <stdlib.h>
#include <string.h>

#include "client/core/file.h"

/* of a listing in the kernel's form */
#define ENTRY_BYTES(name_len) ((160 + (uint64_t)(name_len) + 7) / 8 * 8)
#define READDIR_BYTES_MAX     49152u

void cl_listing_open(struct cl_op *op)
{
	struct client *c = op->client;
	const struct cl_node *dir = cl_node_find(c, op->ino);
	op->opened = cl_file_handle_dir(c, op->ino);
	op->keep_cache = cl_node_is_fresh(c, dir) &&
			 loop_now_ns(c->options.loop) < dir->listed_until_ns;
	cl_op_finish(op, op->opened ? 0 : -E_NOMEM);
}

void cl_listing_close(struct cl_op *op)
{
	cl_file_handle_free(op->handle);
	cl_op_finish(op, 0);
}

/* False: its name is not known from now on, so the directory is not complete. */
static bool entry_take(struct cl_req *req, const Wire__DirEntry *in, struct cl_entry *out)
{
	struct client *c = req->client;
	struct cl_op *op = req->op;
	struct cl_node *node = NULL;
	memcpy(out->name, in->name.data, in->name.len);
	out->name[in->name.len] = '\0';
	out->name_len = (uint32_t)in->name.len;
	out->cookie = in->cookie;
	out->ino = in->ino;
	out->type = in->type;
	out->has_attr = false;
	out->entry_valid_ms = 0;
	bool is_named = in->name_lease && in->name_lease->mode != CL_LEASE_NONE &&
			in->name_lease->ino == op->ino &&
			req->return_count == c->session.return_count &&
			req->call.session == c->session.number;
	if (is_named)
		cl_node_name_grant(c, op->ino, out->name, in->ino);
	if (!in->attr || in->attr->ino != in->ino || cl_node_take_attr(c, in->attr, &node) < 0)
		return is_named;
	if (in->lease)
		cl_node_take_lease(req, in->lease);
	if (!op->want_attr)
		return is_named;
	out->has_attr = true;
	node->lookups++;
	cl_node_show(c, node, &out->attr);
	out->entry_valid_ms = is_named ? cl_session_valid_ms(c) : 0;
	return is_named;
}

/* As many entries as the asker has room for; the next listing goes on behind the last of them. */
static bool entries_take(struct cl_req *req, const Wire__ReadDirReply *reply)
{
	struct cl_op *op = req->op;
	uint64_t used = 0;
	bool is_known = true;
	op->end = reply->end;
	op->parent = reply->parent;
	for (size_t i = 0; i < reply->n_entries; i++) {
		const Wire__DirEntry *in = reply->entries[i];
		used += ENTRY_BYTES(in->name.len);
		if (in->name.len > NAME_BYTES_MAX || (op->length != 0 && used > op->length)) {
			op->end = false;
			break;
		}
		is_known &= entry_take(req, in, &op->entries[op->entry_count++]);
	}
	return is_known;
}

/* The listing of this handle has come further; has it seen all, and is that still so? */
static void listing_goes_on(struct cl_op *op, bool is_known)
{
	struct client *c = op->client;
	struct cl_handle *h = op->handle;
	struct cl_node *dir = cl_node_find(c, op->ino);
	if (!h || !h->is_listing)
		return;
	h->is_listing = is_known && op->offset <= h->listed_to && dir &&
			dir->lease != CL_LEASE_NONE && dir->names_lost == h->names_lost;
	if (op->entry_count > 0)
		h->listed_to = MAX_OF(h->listed_to, op->entries[op->entry_count - 1].cookie);
	if (!h->is_listing || !op->end)
		return;
	h->is_listing = false;
	dir->listed_until_ns = h->listed_until_ns;
	cl_node_dir_complete(dir);
}

static void listed(struct cl_req *req)
{
	struct cl_op *op = req->op;
	const Wire__ReadDirReply *reply = (const void *)req->call.reply;
	struct cl_entry *entries = NULL;
	int rc = req->call.rc;
	if (rc == 0 && !reply)
		rc = -E_MALFORMED;
	if (rc == 0 && reply->n_entries > 0) {
		entries = malloc(reply->n_entries * sizeof *entries);
		rc = entries ? 0 : -E_NOMEM;
	}
	op->entries = entries;
	op->entry_count = 0;
	if (rc == 0) {
		cl_session_stamp(req->client, reply->stamp);
		listing_goes_on(op, entries_take(req, reply));
	}
	cl_op_finish(op, rc);
	free(entries);
}

/* From the start: all that this handle lists from now on may be the whole directory. */
static void listing_begins(struct cl_op *op)
{
	struct client *c = op->client;
	const struct cl_node *dir = cl_node_find(c, op->ino);
	struct cl_handle *h = op->handle;
	if (!h || op->offset != 0)
		return;
	h->is_listing = op->want_attr && cl_node_is_fresh(c, dir);
	h->names_lost = dir ? dir->names_lost : 0;
	h->listed_to = 0;
	h->listed_until_ns = c->session.valid_ns;
}

void cl_listing_read(struct cl_op *op)
{
	struct cl_req *req = cl_session_req(op->client, op, MSG_READDIR, listed);
	if (!req) {
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	listing_begins(op);
	Wire__ReadDir *msg = &req->msg.read_dir;
	msg->ino = op->ino;
	msg->cookie = op->offset;
	msg->bytes_max =
		(uint32_t)MIN_OF(op->length ? op->length : READDIR_BYTES_MAX, READDIR_BYTES_MAX);
	msg->attributes = op->want_attr;
	cl_session_send(req);
}
