/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listings: entries come with attributes and leases, so that whoever asks for each file next finds
 * it known. A directory that was listed from one end to the other, while its lease was ours and no
 * name of it was lost again, is complete (node.h).
 *
 * The kernel may answer the next listing from its own pages while what it was told of the entries
 * holds; beyond that, to list anew is cheaper than to be asked for each of them. Nor may it while
 * somebody lists who began before this node's last change: what he was told may still come into
 * those pages, beside what was told since.
 *
 * One page is asked for ahead while the lease of the directory is ours, and not used once that, or
 * a name, was lost: so it shows what other nodes did before the kernel asked for it. What this node
 * does meanwhile may show or not, as readdir(3) says of any listing under way.
 */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "client/core/atime.h"
#include "client/core/file.h"

/* of a listing in the kernel's form */
#define ENTRY_BYTES(name_len) ((160 + (uint64_t)(name_len) + 7) / 8 * 8)
#define READDIR_BYTES_MAX     49152u

/*
 * The kernel takes the names of a listing for as new as the moment at which it reads the answer.
 * One that is recalled in between would be old and valid: so where others change names now, they
 * come without, and what was on its way at the first recall is to be forgotten with the next
 * request.
 */
static bool is_contended(struct client *c, inode_no ino)
{
	const struct cl_node *dir = cl_node_find(c, ino);
	return dir && loop_now_ns(c->options.loop) < dir->contended_until_ns;
}

static void forget_recalled(struct client *c, struct cl_handle *h)
{
	const struct cl_node *dir = h ? cl_node_find(c, h->ino) : NULL;
	if (!dir || dir->dir_recalls == h->dir_recalls)
		return;
	h->dir_recalls = dir->dir_recalls;
	if (c->options.on_inval_names)
		c->options.on_inval_names(c->options.arg);
}

void cl_listing_open(struct cl_op *op)
{
	struct client *c = op->client;
	struct cl_node *dir = cl_node_find(c, op->ino);
	op->opened = cl_file_handle_dir(c, op->ino);
	op->keep_cache = cl_node_is_fresh(c, dir) && dir->stale_dir_handles == 0 &&
			 !cl_atime_is_due(c, dir) &&
			 loop_now_ns(c->options.loop) < dir->listed_until_ns;
	if (dir && op->opened) {
		dir->dir_handles++;
		op->opened->dir_changes = dir->dir_changes;
		op->opened->dir_recalls = dir->dir_recalls;
	}
	cl_op_finish(op, op->opened ? 0 : -E_NOMEM);
}

void cl_listing_close(struct cl_op *op)
{
	struct cl_node *dir = cl_node_find(op->client, op->handle->ino);
	if (dir && dir->dir_handles > 0) {	/* else it was made anew since */
		dir->dir_handles--;
		dir->stale_dir_handles -= op->handle->dir_changes != dir->dir_changes &&
					  dir->stale_dir_handles > 0;
	}
	forget_recalled(op->client, op->handle);
	cl_file_handle_free(op->handle);
	cl_op_finish(op, 0);
}

/* --- entries ---------------------------------------------------------------------------------- */

/* False: its name is not known from now on, so the directory is not complete. */
static bool entry_take(struct cl_req *req, inode_no dir, const Wire__DirEntry *in,
		       struct cl_entry *out)
{
	struct client *c = req->client;
	struct cl_node *node = NULL;
	memcpy(out->name, in->name.data, in->name.len);
	out->name[in->name.len] = '\0';
	out->name_len = (uint32_t)in->name.len;
	out->cookie = in->cookie;
	out->ino = in->ino;
	out->type = in->type;
	bool is_named = in->name_lease && in->name_lease->mode != CL_LEASE_NONE &&
			in->name_lease->ino == dir &&
			req->return_count == c->session.return_count &&
			req->call.session == c->session.number;
	if (is_named)
		cl_node_name_grant(c, dir, out->name, in->ino);
	out->has_attr = in->attr && in->attr->ino == in->ino &&
			cl_node_take_attr(c, in->attr, &node) == 0;
	if (out->has_attr)		/* now there is a node that can be called so */
		cl_node_name_seen(c, in->ino, dir, out->name);
	if (out->has_attr && in->lease)
		cl_node_take_lease(req, in->lease);
	return is_named;
}

/* It is told now, which may be a while after it was taken. An entry shown counts a lookup. */
static void entry_show(struct cl_op *op, struct cl_entry *entry, bool with_attr)
{
	struct client *c = op->client;
	struct cl_node *node = NULL;
	inode_no named;
	if (entry->has_attr && with_attr)
		node = cl_node_find(c, entry->ino);
	entry->has_attr = node && node->has_attr;
	entry->entry_valid_ms = 0;
	if (!entry->has_attr)
		return;		/* the kernel asks for it, if it cares */
	node->lookups++;
	cl_node_show(c, node, &entry->attr);
	if (cl_node_name_find(c, op->ino, entry->name, &named) && named == entry->ino)
		entry->entry_valid_ms = cl_session_valid_ms(c);
}

/* --- pages ------------------------------------------------------------------------------------ */

/* What one message brought of a directory: asked for by an operation, or ahead of the next one. */
struct cl_listing {
	struct cl_handle *handle;	/* ahead for this one; NULL: an operation's, nobody's */
	struct cl_req *req;		/* on its way */
	struct cl_op *waiters;
	int rc;
	uint64_t cookie;		/* it begins behind this one */
	uint32_t names_lost;		/* of the directory, when it was asked for */
	bool is_known, end;
	inode_no parent;
	uint32_t count;
	struct cl_entry *entries;
};

static int page_take(struct cl_req *req, inode_no dir, struct cl_listing *page)
{
	const Wire__ReadDirReply *reply = (const void *)req->call.reply;
	if (req->call.rc < 0 || !reply)
		return req->call.rc < 0 ? req->call.rc : -E_MALFORMED;
	cl_session_stamp(req->client, reply->stamp);
	page->entries = malloc(MAX_OF(reply->n_entries, (size_t)1) * sizeof *page->entries);
	if (!page->entries)
		return -E_NOMEM;
	page->is_known = true;
	page->end = reply->end;
	page->parent = reply->parent;
	for (size_t i = 0; i < reply->n_entries; i++) {
		if (reply->entries[i]->name.len > NAME_BYTES_MAX)
			return -E_MALFORMED;
		page->is_known &= entry_take(req, dir, reply->entries[i],
					     &page->entries[page->count++]);
	}
	return 0;
}

/* The page behind `cookie`, as op wants it. */
static void page_ask(struct cl_req *req, const struct cl_op *op, uint64_t cookie)
{
	Wire__ReadDir *msg = &req->msg.read_dir;
	msg->ino = op->ino;
	msg->cookie = cookie;
	msg->bytes_max =
		(uint32_t)MIN_OF(op->length ? op->length : READDIR_BYTES_MAX, READDIR_BYTES_MAX);
	msg->attributes = op->want_attr;
}

/* --- ahead ------------------------------------------------------------------------------------ */

static void ahead_came(struct cl_req *req)
{
	struct cl_listing *ahead = req->arg;
	if (!ahead)
		return;		/* its handle was closed */
	ahead->req = NULL;
	ahead->rc = page_take(req, ahead->handle->ino, ahead);
	cl_op_wake(&ahead->waiters);
}

void cl_listing_drop(struct cl_handle *h)
{
	struct cl_listing *ahead = h->ahead;
	if (!ahead)
		return;
	ASSERT(!ahead->waiters);
	h->ahead = NULL;
	if (ahead->req)
		cl_session_forget(ahead->req);
	free(ahead->entries);
	free(ahead);
}

void cl_listing_stop(struct client *c)
{
	struct cl_handle *h;
	DL_FOREACH(c->handles, h)
		cl_listing_drop(h);
}

/* The server collects the next page while the kernel and its caller look at this one. */
static void ahead_start(struct cl_op *op, uint64_t cookie)
{
	struct client *c = op->client;
	struct cl_handle *h = op->handle;
	const struct cl_node *dir = cl_node_find(c, op->ino);
	if (!h || h->ahead || !op->want_attr || !cl_node_is_fresh(c, dir))
		return;
	struct cl_listing *ahead = calloc(1, sizeof *ahead);
	struct cl_req *req = ahead ? cl_session_req(c, NULL, MSG_READDIR, ahead_came) : NULL;
	if (!req) {
		free(ahead);
		return;
	}
	page_ask(req, op, cookie);
	*ahead = (struct cl_listing){ .handle = h, .req = req, .cookie = cookie,
				      .names_lost = dir->names_lost };
	req->arg = ahead;
	h->ahead = ahead;
	cl_session_send(req);
}

/* Is it what the operation asks for, and as nobody else has changed it since? */
static bool ahead_serves(const struct cl_op *op)
{
	const struct cl_listing *ahead = op->handle ? op->handle->ahead : NULL;
	const struct cl_node *dir = cl_node_find(op->client, op->ino);
	return ahead && ahead->rc == 0 && ahead->cookie == op->offset && op->want_attr &&
	       cl_node_is_fresh(op->client, dir) && dir->names_lost == ahead->names_lost;
}

/* --- the operation ---------------------------------------------------------------------------- */

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
	if (dir->stale_dir_handles == 0)
		dir->listed_until_ns = h->listed_until_ns;
	cl_node_dir_complete(dir);
}

/* As many entries as the asker has room for; the next listing goes on behind the last of them. */
static void page_show(struct cl_op *op, struct cl_listing *page)
{
	bool with_attr = op->want_attr && !is_contended(op->client, op->ino);
	uint64_t used = 0;
	op->entries = page->entries;
	op->entry_count = 0;
	op->end = page->end;
	op->parent = page->parent;
	for (uint32_t i = 0; i < page->count; i++) {
		used += ENTRY_BYTES(page->entries[i].name_len);
		if (op->length != 0 && used > op->length) {
			op->end = false;
			break;
		}
		entry_show(op, &page->entries[op->entry_count++], with_attr);
	}
	listing_goes_on(op, page->is_known);
	if (!op->end && op->entry_count > 0)
		ahead_start(op, op->entries[op->entry_count - 1].cookie);
	cl_op_finish(op, 0);
	free(page->entries);
}

static void listed(struct cl_req *req)
{
	struct cl_op *op = req->op;
	struct cl_listing page = { .entries = NULL };
	int rc = page_take(req, op->ino, &page);
	if (rc == 0) {
		page_show(op, &page);
		return;
	}
	free(page.entries);
	cl_op_finish(op, rc);
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
	struct cl_handle *h = op->handle;
	struct cl_node *dir = cl_node_find(op->client, op->ino);
	if (dir)
		cl_atime_read(op->client, dir);
	forget_recalled(op->client, h);
	if (ahead_serves(op) && h->ahead->req) {
		cl_op_wait(op, &h->ahead->waiters, "the metadata server", cl_listing_read);
		return;
	}
	if (ahead_serves(op)) {
		struct cl_listing page = *h->ahead;
		h->ahead->entries = NULL;
		cl_listing_drop(h);
		page_show(op, &page);
		return;
	}
	if (h && h->ahead && !h->ahead->waiters)
		cl_listing_drop(h);
	struct cl_req *req = cl_session_req(op->client, op, MSG_READDIR, listed);
	if (!req) {
		cl_op_finish(op, -E_NOMEM);
		return;
	}
	page_ask(req, op, op->offset);
	listing_begins(op);
	cl_session_send(req);
}
