/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane: one table of requests, each a function from a JSON object to a JSON object.
 * What comes in is foreign (I8): jansson decodes it, and every field is looked for by name.
 *
 *   {"do":"info"}                          tiers, totals, what the mount can
 *   {"do":"files","after":ROOT}            what is in the tiers, in pages
 *   {"do":"pins","after":INO}              pinned inodes, in pages
 *   {"do":"state","ino":INO}               of one inode's content
 *   {"do":"warm","ino":INO}                fill it; then as state
 *   {"do":"pin"|"unpin"|"evict","ino":INO} then as state
 *   {"do":"evict-all"}                     whatever is not pinned or in use
 *   {"do":"seal","ino":INO}                cut its content anew (seal.h); then as seal-state
 *   {"do":"seal-state","ino":INO}          how far that is, and what came of it
 *
 * and what the metadata server answers (control_server.c), "ticket" and "name" in hexadecimal:
 *
 *   {"do":"clone-begin","parent":INO}      of what is asked; its ino and ticket
 *   {"do":"clone-step","ino":INO,"ticket":T}   go on; how far it is, and if it is built
 *   {"do":"clone-show","ino":INO,"ticket":T,"name":N}   in the folder that is asked
 *   {"do":"clone-drop","ino":INO,"ticket":T}
 *   {"do":"trash-enable","keep_ms":MS}     of the folder that is asked
 *   {"do":"trash-disable"}
 *   {"do":"trash-list","after_ns":NS,"after_ino":INO}   of the tree it is in, in pages
 *   {"do":"trash-restore","ino":INO,"tree":INO,"time_ns":NS,"name":N}   to the folder that is asked
 *   {"do":"trash-empty","keep_ms":MS}      what is older; "done": nothing is left of that
 */
#include "client/core/control.h"

#include <string.h>

#include "client/core/control_internal.h"
#include "client/core/control_server.h"
#include "client/core/file.h"
#include "client/core/fill.h"
#include "client/core/pins.h"
#include "client/core/seal.h"

/* --- one inode -------------------------------------------------------------------------------- */

bool cl_control_is_owner(const struct cl_control *ctl, const struct cl_node *node)
{
	return ctl->op->uid == 0 || (node && node->has_attr &&
				     node->attr.st.st_uid == ctl->op->uid);
}

/* What a fill ended with, for whom it was not done. */
static const char *why_not(int rc)
{
	switch (rc) {
	case 0:
		return "it left the tiers again";
	case -E_NOSPC:
		return "no tier has room for it";
	case -E_NODEV:
		return "no cache tier works";
	default:
		return error_text(rc);
	}
}

static int reply_state(struct cl_control *ctl)
{
	struct client *c = ctl->client;
	const struct root *root = &ctl->node->attr.root;
	struct cl_fill_info fill;
	const char *state = "not cached", *why = "";
	uint64_t done = 0;

	if (!S_ISREG(ctl->node->attr.st.st_mode))
		return -E_INVAL;
	if (!cl_fill_may(c, root)) {
		state = "small";
	} else if (tiers_is_sealed(c->options.tiers, root)) {
		state = "cached";
		done = root->length;
	} else if (cl_fill_find(c, root, &fill)) {
		state = "filling";
		done = fill.done_bytes;
	} else {
		why = why_not(cl_fill_failed(c, root));
	}
	ctl->reply = json_pack("{s:I, s:s, s:s, s:I, s:I, s:b}", "ino",
			       (json_int_t)ctl->node->ino, "state", state, "why", why, "bytes",
			       (json_int_t)ctl->node->attr.st.st_size, "done_bytes",
			       (json_int_t)done, "pinned",
			       c->pins && cl_pins_has(c->pins, ctl->node->ino));
	return 0;
}

/* One that works? */
static bool has_tier(const struct client *c)
{
	struct tiers_info info = { .place_count = 0 };
	bool works = false;

	if (c->options.tiers)
		tiers_info(c->options.tiers, &info);
	for (uint32_t i = 0; i < info.place_count; i++)
		works |= !info.places[i].is_broken;
	return works;
}

static int do_warm(struct cl_control *ctl)
{
	struct client *c = ctl->client;
	const struct root *root = &ctl->node->attr.root;
	enum cl_fill_why why = cl_control_is_owner(ctl, ctl->node) ? CL_FILL_WARM : CL_FILL_WISH;
	int rc = 0;

	if (S_ISREG(ctl->node->attr.st.st_mode) && cl_fill_may(c, root))
		rc = has_tier(c) ? cl_fill_start(c, root, why, NULL) : -E_NODEV;
	return rc < 0 ? rc : reply_state(ctl);
}

static int do_pin(struct cl_control *ctl)
{
	int rc = S_ISREG(ctl->node->attr.st.st_mode) && ctl->client->pins
			 ? cl_pins_set(ctl->client->pins, ctl->node, true)
			 : -E_INVAL;
	return rc < 0 ? rc : reply_state(ctl);
}

static int do_unpin(struct cl_control *ctl)
{
	int rc = ctl->client->pins ? cl_pins_set(ctl->client->pins, ctl->node, false) : -E_INVAL;

	return rc < 0 ? rc : reply_state(ctl);
}

static int do_evict(struct cl_control *ctl)
{
	struct client *c = ctl->client;
	const struct root *root = &ctl->node->attr.root;
	int rc = 0;

	if (!S_ISREG(ctl->node->attr.st.st_mode))
		return -E_INVAL;
	cl_fill_cancel(c, root);
	if (root_has_blocks(root))
		rc = tiers_evict(c->options.tiers, root);
	return rc < 0 && rc != -E_NOENT ? rc : reply_state(ctl);
}

static int do_evict_all(struct cl_control *ctl)
{
	uint64_t bytes = tiers_evict_all(ctl->client->options.tiers);

	ctl->reply = json_pack("{s:I}", "evicted_bytes", (json_int_t)bytes);
	return 0;
}

/* --- seals ------------------------------------------------------------------------------------ */

static const char *seal_word(const struct cl_seal_info *info, const struct root *root)
{
	static const char *const words[] = {
		[CL_SEAL_WAITING] = "waiting", [CL_SEAL_RUNNING] = "sealing",
		[CL_SEAL_FAILED] = "failed",
	};
	if (info->state == CL_SEAL_NONE || info->state == CL_SEAL_DONE)
		return root->kind != ROOT_NODE ? "small" : root->cutter ? "sealed" : "not sealed";
	return words[info->state];
}

static int reply_seal(struct cl_control *ctl)
{
	const struct cl_node *node = ctl->node;
	struct cl_seal_info info;

	if (!S_ISREG(node->attr.st.st_mode))
		return -E_INVAL;
	cl_seal_info(ctl->client, node->ino, &info);
	ctl->reply = json_pack(
		"{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "ino",
		(json_int_t)node->ino, "state", seal_word(&info, &node->attr.root), "why",
		info.rc == -E_BUSY ? "it is being written" : info.rc ? error_text(info.rc) : "",
		"bytes", (json_int_t)node->attr.st.st_size, "done_bytes",
		(json_int_t)info.done_bytes, "blocks_before", (json_int_t)info.blocks_before,
		"blocks_after", (json_int_t)info.blocks_after, "new_blocks",
		(json_int_t)info.new_blocks, "new_bytes", (json_int_t)info.new_bytes,
		"shared_blocks", (json_int_t)info.shared_blocks, "shared_bytes",
		(json_int_t)info.shared_bytes);
	return 0;
}

static int do_seal(struct cl_control *ctl)
{
	int rc = S_ISREG(ctl->node->attr.st.st_mode) ? cl_seal_ask(ctl->client, ctl->node->ino)
						     : -E_INVAL;
	return rc < 0 ? rc : reply_seal(ctl);
}

/* --- requests --------------------------------------------------------------------------------- */

static const struct request {
	const char *name;
	int (*run)(struct cl_control *ctl);
	bool wants_inode;
	bool is_guarded;		/* for root and the owner */
	bool needs_no_tier;
	/* of the metadata server's: asks it for this action */
	int (*ask)(struct cl_op *op, const json_t *request, uint32_t action);
	uint32_t action;
} requests[] = {
	{ .name = "info", .run = cl_control_report_info },
	{ .name = "files", .run = cl_control_report_files },
	{ .name = "pins", .run = cl_control_report_pins },
	{ .name = "state", .run = reply_state, .wants_inode = true },
	{ .name = "warm", .run = do_warm, .wants_inode = true },
	{ .name = "pin", .run = do_pin, .wants_inode = true, .is_guarded = true },
	{ .name = "unpin", .run = do_unpin, .wants_inode = true, .is_guarded = true },
	{ .name = "evict", .run = do_evict, .wants_inode = true, .is_guarded = true },
	{ .name = "evict-all", .run = do_evict_all, .is_guarded = true },
	{ .name = "seal", .run = do_seal, .wants_inode = true, .is_guarded = true,
	  .needs_no_tier = true },
	{ .name = "seal-state", .run = reply_seal, .wants_inode = true, .needs_no_tier = true },
	{ .name = "trash-enable", .ask = cl_control_trash, .action = CL_TRASH_ENABLE },
	{ .name = "trash-disable", .ask = cl_control_trash, .action = CL_TRASH_DISABLE },
	{ .name = "trash-restore", .ask = cl_control_trash, .action = CL_TRASH_RESTORE },
	{ .name = "trash-empty", .ask = cl_control_trash, .action = CL_TRASH_EMPTY },
	{ .name = "trash-list", .ask = cl_control_trash_list },
	{ .name = "clone-begin", .ask = cl_control_clone, .action = CL_CLONE_BEGIN },
	{ .name = "clone-step", .ask = cl_control_clone, .action = CL_CLONE_STEP },
	{ .name = "clone-show", .ask = cl_control_clone, .action = CL_CLONE_SHOW },
	{ .name = "clone-drop", .ask = cl_control_clone, .action = CL_CLONE_DROP },
};

static const struct request *request_find(const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "do"));

	for (size_t i = 0; name && i < ARRAY_COUNT(requests); i++)
		if (strcmp(requests[i].name, name) == 0)
			return &requests[i];
	return NULL;
}

static int control_run(struct cl_op *op, const struct request *r, const json_t *request)
{
	struct cl_control ctl = { .op = op, .client = op->client, .request = request };
	size_t len;
	int rc;

	ctl.node = r->wants_inode ? cl_node_find(op->client, op->ino) : NULL;
	if (r->is_guarded && !cl_control_is_owner(&ctl, ctl.node))
		return -E_PERM;
	rc = r->run(&ctl);
	if (rc < 0)
		return rc;
	len = ctl.reply ? json_dumpb(ctl.reply, op->out, op->out_capacity, JSON_COMPACT) : 0;
	json_decref(ctl.reply);
	if (len == 0)
		return -E_NOMEM;
	op->out_len = (uint32_t)len;
	return len <= op->out_capacity ? 0 : -E_RANGE;
}

static void attr_done(struct cl_req *req)
{
	struct cl_op *op = req->op;

	op->wait_rc = cl_node_take_reply(req, NULL);
	op->is_fresh = true;
	cl_control_start(op);
}

/* 0; 1: the attributes of the inode are on their way; or an error. */
static int inode_ask(struct cl_op *op, const json_t *request)
{
	struct client *c = op->client;
	struct cl_req *req;

	op->ino = (inode_no)json_integer_value(json_object_get(request, "ino"));
	if (op->ino == 0)
		return -E_INVAL;
	if (op->is_fresh || cl_node_is_fresh(c, cl_node_find(c, op->ino)))
		return cl_node_find(c, op->ino) ? 0 : -E_NOENT;
	if (!cl_session_is_valid(c)) {
		cl_op_wait(op, &c->session_waiters, "the metadata server", cl_control_start);
		cl_session_renew(c);
		return 1;
	}
	req = cl_session_req(c, op, MSG_GETATTR, attr_done);
	if (!req)
		return -E_NOMEM;
	req->msg.get_attr.ino = op->ino;
	req->msg.get_attr.lease = true;
	cl_session_send(req);
	return 1;
}

static int server_ask(struct cl_op *op, const struct request *r, const json_t *request)
{
	struct client *c = op->client;

	if (cl_session_is_valid(c))
		return r->ask(op, request, r->action);
	cl_op_wait(op, &c->session_waiters, "the metadata server", cl_control_start);
	cl_session_renew(c);
	return 1;
}

void cl_control_start(struct cl_op *op)
{
	json_t *request = json_loadb(op->bytes, op->bytes_len, JSON_REJECT_DUPLICATES, NULL);
	const struct request *r = request_find(request);
	int rc = op->wait_rc;

	if (rc == 0 && !r)
		rc = -E_INVAL;
	if (rc == 0 && (r->wants_inode || r->is_guarded) && !r->needs_no_tier &&
	    !op->client->options.tiers)
		rc = -E_NODEV;
	if (rc == 0 && r->wants_inode)
		rc = inode_ask(op, request);
	if (rc == 0 && r->ask)
		rc = server_ask(op, r, request);
	else if (rc == 0)
		rc = control_run(op, r, request);
	json_decref(request);
	if (rc <= 0)
		cl_op_finish(op, rc);
}
