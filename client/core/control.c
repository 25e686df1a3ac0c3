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
 */
#include "client/core/control.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "client/core/file.h"
#include "client/core/fill.h"
#include "client/core/guess.h"
#include "client/core/pins.h"
#include "fs/base/text.h"

#define PAGE_TEXT_BYTES (CONTROL_TEXT_BYTES - 1000u)	/* of the entries of a page */
#define PINS_PAGE	256u
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
		[CL_FILL_SIBLING] = "shard of a model in use", [CL_FILL_GUESS] = "predicted",
	};
	return words[why];
}

static void root_hex(const struct root *root, char out[ROOT_HEX_BYTES])
{
	uint8_t bytes[ROOT_BYTES];

	root_encode(root, bytes);
	text_hex(out, bytes, sizeof bytes);
}

static int root_of_hex(const char *hex, struct root *out)
{
	uint8_t bytes[ROOT_BYTES];
	int rc = text_parse_hex(hex, bytes, sizeof bytes);

	return rc < 0 ? rc : root_decode(bytes, out);
}

/* --- one inode -------------------------------------------------------------------------------- */

static bool has_blocks(const struct root *root)
{
	return root->kind == ROOT_BLOCK || root->kind == ROOT_NODE;
}

struct fill_search {
	const struct root *root;
	struct cl_fill_info info;
	bool is_found;
};

static bool fill_match(void *arg, const struct cl_fill_info *info)
{
	struct fill_search *s = arg;

	s->is_found = root_equal(&info->root, s->root);
	if (s->is_found)
		s->info = *info;
	return !s->is_found;
}

static int reply_state(struct control *ctl)
{
	struct client *c = ctl->client;
	const struct root *root = &ctl->node->attr.root;
	struct fill_search search = { .root = root };
	const char *state = "not cached";
	uint64_t done = 0;

	if (!S_ISREG(ctl->node->attr.st.st_mode))
		return -E_INVAL;
	if (!has_blocks(root) || root->length < c->options.tier_min_bytes) {
		state = "small";
	} else if (tiers_is_sealed(c->options.tiers, root)) {
		state = "cached";
		done = root->length;
	} else {
		cl_fill_list(c, fill_match, &search);
		if (search.is_found) {
			state = "filling";
			done = search.info.done_bytes;
		}
	}
	ctl->reply = json_pack("{s:I, s:s, s:I, s:I, s:b}", "ino", (json_int_t)ctl->node->ino,
			       "state", state, "bytes",
			       (json_int_t)ctl->node->attr.st.st_size, "done_bytes",
			       (json_int_t)done, "pinned",
			       c->pins && cl_pins_has(c->pins, ctl->node->ino));
	return 0;
}

static int do_warm(struct control *ctl)
{
	struct client *c = ctl->client;
	const struct root *root = &ctl->node->attr.root;
	int rc = 0;

	if (S_ISREG(ctl->node->attr.st.st_mode) && has_blocks(root) &&
	    root->length >= c->options.tier_min_bytes)
		rc = cl_fill_start(c, root, CL_FILL_WARM, NULL);
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

	cl_fill_cancel(c, root);
	if (has_blocks(root))
		rc = tiers_evict(c->options.tiers, root);
	return rc < 0 && rc != -E_NOENT ? rc : reply_state(ctl);
}

static int do_evict_all(struct control *ctl)
{
	uint64_t bytes = tiers_evict_all(ctl->client->options.tiers);

	ctl->reply = json_pack("{s:I}", "evicted_bytes", (json_int_t)bytes);
	return 0;
}

/* --- reports ---------------------------------------------------------------------------------- */

static json_t *place_json(const struct tier_place_info *p)
{
	return json_pack("{s:s, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
			 " s:I, s:I}",
			 "directory", p->directory, "memory", p->is_memory, "broken",
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
	ctl->reply = json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}",
			       "cluster", cluster, "tiers", places, "predictor", predictor_json(c),
			       "hits", (json_int_t)info.hits, "misses", (json_int_t)info.misses,
			       "refused", (json_int_t)info.refused, "fills",
			       (json_int_t)fills[0], "fill_bytes", (json_int_t)fills[1],
			       "fill_done_bytes", (json_int_t)fills[2], "pins",
			       (json_int_t)(c->pins ? cl_pins_count(c->pins) : 0), "passthrough",
			       c->options.passthrough ? c->options.passthrough(c->options.arg)
						      : "there is no front");
	return 0;
}

/* A page of entries: as many as fit. */
struct page {
	struct client *client;
	json_t *entries;
	size_t bytes;
	bool is_full, has_failed;
};

static bool page_add(struct page *page, json_t *entry)
{
	size_t len = entry ? json_dumpb(entry, NULL, 0, JSON_COMPACT) : 0;

	page->has_failed |= len == 0;
	page->is_full = page->bytes + len + 1 > PAGE_TEXT_BYTES;
	if (page->is_full || page->has_failed) {
		json_decref(entry);
		return false;
	}
	page->bytes += len + 1;
	json_array_append_new(page->entries, entry);
	return true;
}

static bool file_entry(void *arg, const struct tier_file_info *info)
{
	struct page *page = arg;
	struct fill_search search = { .root = &info->root };
	char hex[ROOT_HEX_BYTES], path[NAME_BYTES_MAX * 4];
	const char *why = "";

	root_hex(&info->root, hex);
	if (info->state == TIER_FILLING) {
		cl_fill_list(page->client, fill_match, &search);
		why = search.is_found ? why_word(search.info.why) : "being written";
	}
	cl_node_path_of_root(page->client, &info->root, path, sizeof path);
	return page_add(page,
			json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:b, s:I, s:I, s:I, s:I}",
				  "root", hex, "path", path, "state", state_word(info->state),
				  "why", why, "tier", (int)info->place, "pinned",
				  info->is_pinned, "in_use", info->is_used, "bytes",
				  (json_int_t)info->bytes, "done_bytes",
				  (json_int_t)info->present_bytes, "uses",
				  (json_int_t)info->uses, "used_wall_ns",
				  (json_int_t)info->used_wall_ns));
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

static int do_files(struct control *ctl)
{
	struct page page = { .client = ctl->client, .entries = json_array() };
	const char *after = json_string_value(json_object_get(ctl->request, "after"));
	struct root root;

	if (after && root_of_hex(after, &root) < 0) {
		json_decref(page.entries);
		return -E_INVAL;
	}
	tiers_list(ctl->client->options.tiers, after ? &root : NULL, file_entry, &page);
	return page_end(ctl, &page);
}

static int do_pins(struct control *ctl)
{
	struct page page = { .client = ctl->client, .entries = json_array() };
	inode_no after = (inode_no)json_integer_value(json_object_get(ctl->request, "after"));
	inode_no inodes[PINS_PAGE];
	uint32_t count = ctl->client->pins ? cl_pins_list(ctl->client->pins, after, inodes,
							  PINS_PAGE)
					   : 0;
	char path[NAME_BYTES_MAX * 4];

	for (uint32_t i = 0; i < count; i++) {
		cl_node_path(ctl->client, inodes[i], path, sizeof path);
		if (!page_add(&page, json_pack("{s:I, s:s}", "ino", (json_int_t)inodes[i], "path",
					       path)))
			break;
	}
	page.is_full |= count == PINS_PAGE;
	return page_end(ctl, &page);
}

/* --- requests --------------------------------------------------------------------------------- */

static const struct request {
	const char *name;
	int (*run)(struct control *ctl);
	bool wants_inode;
	bool is_guarded;		/* for root and the owner */
} requests[] = {
	{ "info", do_info, false, false },	  { "files", do_files, false, false },
	{ "pins", do_pins, false, false },	  { "state", reply_state, true, false },
	{ "warm", do_warm, true, false },	  { "pin", do_pin, true, true },
	{ "unpin", do_unpin, true, true },	  { "evict", do_evict, true, true },
	{ "evict-all", do_evict_all, false, true },
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
	if (r->is_guarded && op->uid != 0 && !(ctl.node && ctl.node->attr.st.st_uid == op->uid))
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

	op->wait_rc = req->call.rc;
	if (op->wait_rc == 0)
		op->wait_rc = cl_node_take_reply(req, (const void *)req->call.reply, NULL);
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

void cl_control_start(struct cl_op *op)
{
	json_t *request = json_loadb(op->bytes, op->bytes_len, JSON_REJECT_DUPLICATES, NULL);
	const struct request *r = request_find(request);
	int rc = op->wait_rc;

	if (rc == 0 && !r)
		rc = -E_INVAL;
	if (rc == 0 && r->run != do_info && !op->client->options.tiers)
		rc = -E_NODEV;
	if (rc == 0 && r->wants_inode)
		rc = inode_ask(op, request);
	if (rc == 0)
		rc = control_run(op, r, request);
	json_decref(request);
	if (rc <= 0)
		cl_op_finish(op, rc);
}
