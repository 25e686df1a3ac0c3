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

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "client/core/control_server.h"
#include "client/core/file.h"
#include "client/core/fill.h"
#include "client/core/guess.h"
#include "client/core/pins.h"
#include "client/core/seal.h"
#include "fs/base/text.h"

#define PAGE_TEXT_BYTES (CONTROL_TEXT_BYTES - 1000u)	/* of the entries of a page */
#define PINS_PAGE	256u
#define FILES_PAGE	64u
#define PATH_TEXT_BYTES 1024u		/* escaped, still less than a page */
#define ROOT_HEX_BYTES	(2 * ROOT_BYTES + 1)

struct control {
	struct cl_op *op;
	struct client *client;
	const json_t *request;
	struct cl_node *node;		/* of requests that name an inode, attributes known */
	json_t *reply;
};

/* --- words ------------------------------------------------------------------------------------ */

static const char *state_word(enum tier_state state)
{
	static const char *const words[] = {
		[TIER_FILLING] = "filling", [TIER_SEALING] = "sealing",
		[TIER_SEALED] = "cached",   [TIER_GONE] = "gone",
	};
	return words[state];
}

static const char *why_word(enum cl_fill_why why)
{
	static const char *const words[] = {
		[CL_FILL_TOUCH] = "read", [CL_FILL_WARM] = "asked for",
		[CL_FILL_WISH] = "asked for",
		[CL_FILL_SIBLING] = "shard of a model in use", [CL_FILL_GUESS] = "predicted",
	};
	return words[why];
}

static int root_of_hex(const char *hex, struct root *out)
{
	uint8_t bytes[ROOT_BYTES];
	int rc = text_parse_hex(hex, bytes, sizeof bytes);

	return rc < 0 ? rc : root_decode(bytes, out);
}

/* --- one inode -------------------------------------------------------------------------------- */

/* Text of foreign names: what is no UTF-8 could not be said in JSON. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char copy[PATH_TEXT_BYTES];

	if (json)
		return json;
	(void)text_copy(copy, sizeof copy, text);
	for (char *s = copy; *s; s++)
		if ((unsigned char)*s >= 0x80)
			*s = '?';
	return json_string(copy);
}

static bool is_root_or_owner(const struct control *ctl, const struct cl_node *node)
{
	return ctl->op->uid == 0 || (node && node->has_attr &&
				     node->attr.st.st_uid == ctl->op->uid);
}

/* Where this mount saw it last; "" for who may not know. */
static json_t *path_json(const struct control *ctl, inode_no ino)
{
	char path[PATH_TEXT_BYTES] = "";

	if (ino && is_root_or_owner(ctl, cl_node_find(ctl->client, ino)))
		cl_node_path(ctl->client, ino, path, sizeof path);
	return text_json(path);
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

static int reply_state(struct control *ctl)
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

static int do_warm(struct control *ctl)
{
	struct client *c = ctl->client;
	const struct root *root = &ctl->node->attr.root;
	enum cl_fill_why why = is_root_or_owner(ctl, ctl->node) ? CL_FILL_WARM : CL_FILL_WISH;
	int rc = 0;

	if (S_ISREG(ctl->node->attr.st.st_mode) && cl_fill_may(c, root))
		rc = has_tier(c) ? cl_fill_start(c, root, why, NULL) : -E_NODEV;
	return rc < 0 ? rc : reply_state(ctl);
}

static int do_pin(struct control *ctl)
{
	int rc = S_ISREG(ctl->node->attr.st.st_mode) && ctl->client->pins
			 ? cl_pins_set(ctl->client->pins, ctl->node, true)
			 : -E_INVAL;
	return rc < 0 ? rc : reply_state(ctl);
}

static int do_unpin(struct control *ctl)
{
	int rc = ctl->client->pins ? cl_pins_set(ctl->client->pins, ctl->node, false) : -E_INVAL;

	return rc < 0 ? rc : reply_state(ctl);
}

static int do_evict(struct control *ctl)
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

static int do_evict_all(struct control *ctl)
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

static int reply_seal(struct control *ctl)
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

static int do_seal(struct control *ctl)
{
	int rc = S_ISREG(ctl->node->attr.st.st_mode) ? cl_seal_ask(ctl->client, ctl->node->ino)
						     : -E_INVAL;
	return rc < 0 ? rc : reply_seal(ctl);
}

/* --- reports ---------------------------------------------------------------------------------- */

static json_t *place_json(const struct tier_place_info *p)
{
	return json_pack("{s:o, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
			 " s:I, s:I}",
			 "directory", text_json(p->directory), "memory", p->is_memory, "broken",
			 p->is_broken, "problem", p->problem, "bytes_max",
			 (json_int_t)p->bytes_max, "bytes_used", (json_int_t)p->bytes_used,
			 "bytes_pinned", (json_int_t)p->bytes_pinned, "keep_free",
			 (json_int_t)p->keep_free, "files", (json_int_t)p->files, "hits",
			 (json_int_t)p->hits, "evictions", (json_int_t)p->evictions,
			 "evicted_bytes", (json_int_t)p->evicted_bytes, "promotions",
			 (json_int_t)p->promotions, "demotions", (json_int_t)p->demotions,
			 "checked_bytes", (json_int_t)p->checked_bytes, "wrong",
			 (json_int_t)p->wrong);
}

static bool fill_count(void *arg, const struct cl_fill_info *info)
{
	uint64_t *sums = arg;

	sums[0]++;
	sums[1] += info->bytes;
	sums[2] += info->done_bytes;
	return true;
}

static json_t *predictor_json(const struct client *c)
{
	struct cl_guess_info info = { .bytes = 0 };

	if (c->guess)
		cl_guess_info(c->guess, &info);
	return json_pack("{s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "on", c->guess != NULL,
			 "filling", info.is_filling, "models", (json_int_t)info.stats.models,
			 "uses", (json_int_t)info.stats.uses, "warmed",
			 (json_int_t)info.stats.warmed, "hits", (json_int_t)info.stats.hits,
			 "misses", (json_int_t)info.stats.misses, "bytes",
			 (json_int_t)info.bytes);
}

static int do_info(struct control *ctl)
{
	struct client *c = ctl->client;
	struct tiers_info info = { .place_count = 0 };
	uint64_t fills[3] = { 0 };
	json_t *places = json_array();
	const Wire__HelloReply *hello = rpc_peer_hello(c->mds);
	char cluster[33] = "";

	if (hello && hello->cluster.len == 16)
		text_hex(cluster, hello->cluster.data, 16);
	if (c->options.tiers)
		tiers_info(c->options.tiers, &info);
	cl_fill_list(c, fill_count, fills);
	for (uint32_t i = 0; i < info.place_count; i++)
		json_array_append_new(places, place_json(&info.places[i]));
	ctl->reply = json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s,"
			       " s:s}",
			       "cluster", cluster, "tiers", places, "predictor", predictor_json(c),
			       "hits", (json_int_t)info.hits, "misses", (json_int_t)info.misses,
			       "refused", (json_int_t)info.refused, "fills",
			       (json_int_t)fills[0], "fill_bytes", (json_int_t)fills[1],
			       "fill_done_bytes", (json_int_t)fills[2], "pins",
			       (json_int_t)(c->pins ? cl_pins_count(c->pins) : 0), "passthrough",
			       c->options.passthrough ? c->options.passthrough(c->options.arg)
						      : "there is no front",
			       "pins_problem", c->pins ? cl_pins_problem(c->pins) : "");
	return 0;
}

/* A page of entries: as many as fit. */
struct page {
	json_t *entries;
	size_t bytes;
	bool is_full, has_failed;
};

static void page_add(struct page *page, json_t *entry)
{
	size_t len = entry ? json_dumpb(entry, NULL, 0, JSON_COMPACT) : 0;

	page->has_failed |= len == 0;
	page->is_full |= page->bytes + len + 1 > PAGE_TEXT_BYTES;
	if (page->is_full || page->has_failed) {
		json_decref(entry);
		return;
	}
	page->bytes += len + 1;
	json_array_append_new(page->entries, entry);
}

static int page_end(struct control *ctl, struct page *page)
{
	if (page->has_failed) {
		json_decref(page->entries);
		return -E_NOMEM;
	}
	ctl->reply = json_pack("{s:o, s:b}", "entries", page->entries, "more", page->is_full);
	return 0;
}

/* Files of a page, and which inode has that content, as far as this mount knows. */
struct files {
	struct seen_file {
		struct tier_file_info info;
		uint8_t key[ROOT_BYTES];
		inode_no ino;
		UT_hash_handle hh;
	} at[FILES_PAGE];
	struct seen_file *by_root;
	uint32_t count;
	bool is_more;
};

static bool files_add(void *arg, const struct tier_file_info *info)
{
	struct files *files = arg;
	struct seen_file *f = &files->at[files->count];

	files->is_more = files->count == FILES_PAGE;
	if (files->is_more)
		return false;
	f->info = *info;
	root_encode(&info->root, f->key);
	files->count++;
	HASH_ADD(hh, files->by_root, key, sizeof f->key, f);
	return true;
}

/* One walk through all inodes for all files of the page. */
static void files_name(struct files *files, const struct client *c)
{
	const struct cl_node *node;
	uint8_t key[ROOT_BYTES];
	struct seen_file *f;

	for (node = c->nodes; node; node = node->hh.next) {
		if (!node->has_attr || !node->name_hint || !root_has_blocks(&node->attr.root))
			continue;
		root_encode(&node->attr.root, key);
		HASH_FIND(hh, files->by_root, key, sizeof key, f);
		if (f && !f->ino)
			f->ino = node->ino;
	}
}

static json_t *file_json(const struct control *ctl, const struct seen_file *f)
{
	const struct tier_file_info *info = &f->info;
	char hex[ROOT_HEX_BYTES];
	struct cl_fill_info fill;
	const char *why = "";

	text_hex(hex, f->key, sizeof f->key);
	if (info->state == TIER_FILLING)
		why = cl_fill_find(ctl->client, &info->root, &fill) ? why_word(fill.why)
								    : "being written";
	return json_pack("{s:s, s:o, s:s, s:s, s:i, s:b, s:b, s:I, s:I, s:I, s:I}", "root", hex,
			 "path", path_json(ctl, f->ino), "state", state_word(info->state), "why",
			 why, "tier", (int)info->place, "pinned", info->is_pinned, "in_use",
			 info->is_used, "bytes", (json_int_t)info->bytes, "done_bytes",
			 (json_int_t)info->present_bytes, "uses", (json_int_t)info->uses,
			 "used_wall_ns", (json_int_t)info->used_wall_ns);
}

static int do_files(struct control *ctl)
{
	const char *after = json_string_value(json_object_get(ctl->request, "after"));
	struct page page = { .bytes = 0 };
	struct files *files;
	struct root root;

	if (after && root_of_hex(after, &root) < 0)
		return -E_INVAL;
	files = calloc(1, sizeof *files);
	page.entries = json_array();
	if (!files || !page.entries) {
		free(files);
		json_decref(page.entries);
		return -E_NOMEM;
	}
	if (ctl->client->options.tiers)
		tiers_list(ctl->client->options.tiers, after ? &root : NULL, files_add, files);
	files_name(files, ctl->client);
	for (uint32_t i = 0; i < files->count && !page.is_full && !page.has_failed; i++)
		page_add(&page, file_json(ctl, &files->at[i]));
	page.is_full |= files->is_more;
	HASH_CLEAR(hh, files->by_root);
	free(files);
	return page_end(ctl, &page);
}

static int do_pins(struct control *ctl)
{
	struct page page = { .entries = json_array() };
	inode_no after = (inode_no)json_integer_value(json_object_get(ctl->request, "after"));
	inode_no inodes[PINS_PAGE];
	const struct cl_pins *pins = ctl->client->pins;
	uint32_t count = pins ? cl_pins_list(pins, after, inodes, PINS_PAGE) : 0;

	for (uint32_t i = 0; i < count && !page.is_full && !page.has_failed; i++)
		page_add(&page, json_pack("{s:I, s:o}", "ino", (json_int_t)inodes[i], "path",
					  path_json(ctl, inodes[i])));
	page.is_full |= count == PINS_PAGE;
	return page_end(ctl, &page);
}

/* --- requests --------------------------------------------------------------------------------- */

static const struct request {
	const char *name;
	int (*run)(struct control *ctl);
	bool wants_inode;
	bool is_guarded;		/* for root and the owner */
	bool needs_no_tier;
	/* of the metadata server's: asks it for this action */
	int (*ask)(struct cl_op *op, const json_t *request, uint32_t action);
	uint32_t action;
} requests[] = {
	{ .name = "info", .run = do_info },
	{ .name = "files", .run = do_files },
	{ .name = "pins", .run = do_pins },
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
	struct control ctl = { .op = op, .client = op->client, .request = request };
	size_t len;
	int rc;

	ctl.node = r->wants_inode ? cl_node_find(op->client, op->ino) : NULL;
	if (r->is_guarded && !is_root_or_owner(&ctl, ctl.node))
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
