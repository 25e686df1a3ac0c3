/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the control plane that the metadata server answers: clones, trash. What is asked for
 * an inode is asked on an open file of it (op->at), so that the kernel has proved that the caller
 * may reach it; the metadata server checks the rest, as the caller with all his groups.
 *
 * What the server refuses is an answer here, with "error" (errno), "text" and the name it is about:
 * an ioctl that fails could only say the first.
 */
#include "client/core/control_server.h"

#include <stdlib.h>
#include <string.h>

#include "fs/base/text.h"

#define NAME_TEXT_BYTES (NAME_BYTES_MAX + 1)

/* --- fields ----------------------------------------------------------------------------------- */

static uint64_t number(const json_t *request, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(request, key));

	return value < 0 ? 0 : (uint64_t)value;
}

/* Names and tickets come in hexadecimal digits: not every name is text. How many bytes, or < 0. */
static int bytes_of_hex(const json_t *request, const char *key, uint8_t *out, size_t capacity)
{
	const char *hex = json_string_value(json_object_get(request, key));
	size_t len = hex ? strlen(hex) / 2 : 0;

	if (!hex || len == 0 || len > capacity || strlen(hex) % 2)
		return -E_INVAL;
	return text_parse_hex(hex, out, len) < 0 ? -E_INVAL : (int)len;
}

/* The name that is asked for, kept in `room` (NAME_BYTES_MAX), which *out points to. */
static int name_of(const json_t *request, uint8_t *room, ProtobufCBinaryData *out)
{
	int rc = bytes_of_hex(request, "name", room, NAME_BYTES_MAX);

	*out = (ProtobufCBinaryData){ .len = rc < 0 ? 0 : (size_t)rc, .data = room };
	return rc < 0 ? rc : 0;
}

static int ticket_of(const json_t *request, uint64_t *out)
{
	uint8_t bytes[sizeof *out];
	int rc = bytes_of_hex(request, "ticket", bytes, sizeof bytes);

	if (rc != (int)sizeof bytes)
		return -E_INVAL;
	memcpy(out, bytes, sizeof *out);
	return 0;
}

/* --- answers ---------------------------------------------------------------------------------- */

static json_t *name_json(ProtobufCBinaryData name)
{
	char text[NAME_TEXT_BYTES];
	size_t len = MIN_OF(name.len, sizeof text - 1);
	json_t *json;

	for (size_t i = 0; i < len; i++)
		text[i] = (char)(name.data[i] ? name.data[i] : '?');
	text[len] = '\0';
	json = json_string(text);
	for (size_t i = 0; !json && i < len; i++)
		if ((unsigned char)text[i] >= 0x80)
			text[i] = '?';
	return json ? json : json_string(text);
}

static void finish(struct cl_op *op, json_t *reply)
{
	size_t len = reply ? json_dumpb(reply, op->out, op->out_capacity, JSON_COMPACT) : 0;

	json_decref(reply);
	op->out_len = (uint32_t)len;
	cl_op_finish(op, len == 0 ? -E_NOMEM : len <= op->out_capacity ? 0 : -E_RANGE);
}

/* Did the server decide? Else nobody answered, and the call fails. */
static bool is_refusal(int rc)
{
	return rc < 0 && rc != -E_INTR && rc != -E_NO_SESSION && !cl_is_unavailable(rc);
}

static json_t *refusal_json(int rc, ProtobufCBinaryData name)
{
	return json_pack("{s:i, s:s, s:o}", "error", error_to_errno(rc), "text", error_text(rc),
			 "name", name_json(name));
}

/* The end of an op whose request did not come to a reply: true, and it is over. */
static bool has_failed(struct cl_op *op, const struct cl_req *req, ProtobufCBinaryData name)
{
	int rc = req->call.rc;

	if (rc >= 0 && req->call.reply)
		return false;
	if (rc >= 0)
		cl_op_finish(op, -E_MALFORMED);
	else if (is_refusal(rc))
		finish(op, refusal_json(rc, name));
	else
		cl_op_finish(op, rc);
	return true;
}

/* --- clones ----------------------------------------------------------------------------------- */

/*
 * Of what was parsed (*rc), with the name that it points to; NULL: *rc says why, and the name is
 * freed.
 */
static struct cl_req *named_req(struct cl_op *op, uint16_t type, void (*done)(struct cl_req *req),
				uint8_t *name, int *rc)
{
	struct cl_req *req = *rc == 0 ? cl_session_req(op->client, op, type, done) : NULL;

	if (!req) {
		free(name);
		*rc = *rc < 0 ? *rc : -E_NOMEM;
		return NULL;
	}
	req->more = name;
	return req;
}

static void clone_done(struct cl_req *req)
{
	const Wire__CloneReply *reply = (const void *)req->call.reply;
	struct cl_op *op = req->op;
	uint64_t ticket = req->msg.clone.ticket;
	char hex[2 * sizeof ticket + 1];

	if (reply)
		cl_session_stamp(req->client, reply->stamp);
	if (has_failed(op, req, reply ? reply->name : (ProtobufCBinaryData){ 0 }))
		return;
	text_hex(hex, &ticket, sizeof ticket);
	finish(op, json_pack("{s:I, s:s, s:b, s:I, s:I}", "ino", (json_int_t)reply->ino, "ticket",
			     hex, "built", reply->built, "names", (json_int_t)reply->names, "bytes",
			     (json_int_t)reply->bytes));
}

/* What the caller says of it; the message points into `name`. */
static int clone_parse(const struct cl_op *op, const json_t *request, Wire__Clone *msg,
		       uint8_t *name)
{
	int rc;

	if (msg->action == CL_CLONE_BEGIN) {
		msg->ino = op->at;
		msg->parent = number(request, "parent");
		loop_random(op->client->options.loop, &msg->ticket, sizeof msg->ticket);
		return 0;
	}
	msg->ino = number(request, "ino");
	rc = ticket_of(request, &msg->ticket);
	if (rc < 0 || msg->action != CL_CLONE_SHOW)
		return rc;
	msg->parent = op->at;
	return name_of(request, name, &msg->name);
}

int cl_control_clone(struct cl_op *op, const json_t *request, uint32_t action)
{
	Wire__Clone msg = WIRE__CLONE__INIT;
	uint8_t *name = calloc(1, NAME_BYTES_MAX);
	struct cl_req *req;
	int rc;

	msg.action = action;
	rc = name ? clone_parse(op, request, &msg, name) : -E_NOMEM;
	req = named_req(op, MSG_CLONE, clone_done, name, &rc);
	if (!req)
		return rc;
	msg.caller = &req->caller;
	req->msg.clone = msg;
	cl_session_send(req);
	return 1;
}

/* --- trash ------------------------------------------------------------------------------------ */

static void trash_done(struct cl_req *req)
{
	const Wire__TrashReply *reply = (const void *)req->call.reply;
	struct cl_op *op = req->op;

	if (reply)
		cl_session_stamp(req->client, reply->stamp);
	if (!has_failed(op, req, (ProtobufCBinaryData){ 0 }))
		finish(op, json_pack("{s:I, s:b, s:I}", "ino", (json_int_t)reply->ino, "done",
				     reply->done, "next_ns", (json_int_t)reply->next_time_ns));
}

static int trash_parse(const struct cl_op *op, const json_t *request, Wire__Trash *msg,
		       uint8_t *name)
{
	msg->ino = op->at;
	msg->keep_ms = number(request, "keep_ms");
	msg->time_ns = number(request, "time_ns");
	if (msg->action != CL_TRASH_RESTORE)
		return 0;
	msg->ino = number(request, "ino");
	msg->tree = number(request, "tree");
	msg->parent = op->at;
	return name_of(request, name, &msg->name);
}

int cl_control_trash(struct cl_op *op, const json_t *request, uint32_t action)
{
	Wire__Trash msg = WIRE__TRASH__INIT;
	uint8_t *name = calloc(1, NAME_BYTES_MAX);
	struct cl_req *req;
	int rc;

	msg.action = action;
	rc = name ? trash_parse(op, request, &msg, name) : -E_NOMEM;
	req = named_req(op, MSG_TRASH, trash_done, name, &rc);
	if (!req)
		return rc;
	msg.caller = &req->caller;
	req->msg.trash = msg;
	cl_session_send(req);
	return 1;
}

static json_t *entry_json(const Wire__TrashEntry *e)
{
	char *hex = malloc(2 * e->path.len + 1);
	json_t *json;

	if (!hex)
		return NULL;
	text_hex(hex, e->path.data, e->path.len);
	json = json_pack("{s:I, s:I, s:I, s:i, s:I, s:s}", "ino", (json_int_t)e->ino, "time_ns",
			 (json_int_t)e->time_ns, "uid", (json_int_t)e->uid, "mode",
			 (int)e->mode, "size", (json_int_t)e->size, "path", hex);
	free(hex);
	return json;
}

static void trash_list_done(struct cl_req *req)
{
	const Wire__TrashListReply *reply = (const void *)req->call.reply;
	struct cl_op *op = req->op;
	json_t *list;

	if (reply)
		cl_session_stamp(req->client, reply->stamp);
	if (has_failed(op, req, (ProtobufCBinaryData){ 0 }))
		return;
	list = json_array();
	for (size_t i = 0; i < reply->n_list; i++)
		json_array_append_new(list, entry_json(reply->list[i]));
	finish(op, json_pack("{s:I, s:b, s:I, s:I, s:I, s:o, s:b, s:I, s:I}", "tree",
			     (json_int_t)reply->tree, "on", reply->on, "keep_ms",
			     (json_int_t)reply->keep_ms, "entries", (json_int_t)reply->entries,
			     "bytes", (json_int_t)reply->bytes, "list", list, "end", reply->end,
			     "next_ns", (json_int_t)reply->next_time_ns, "next_ino",
			     (json_int_t)reply->next_ino));
}

int cl_control_trash_list(struct cl_op *op, const json_t *request, uint32_t unused)
{
	struct cl_req *req = cl_session_req(op->client, op, MSG_TRASH_LIST, trash_list_done);

	(void)unused;
	if (!req)
		return -E_NOMEM;
	req->msg.trash_list.caller = &req->caller;
	req->msg.trash_list.ino = op->at;
	req->msg.trash_list.after_time_ns = number(request, "after_ns");
	req->msg.trash_list.after_ino = number(request, "after_ino");
	cl_session_send(req);
	return 1;
}
