/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn locks: who has which bytes of which file, and who waits, as the metadata server knows it.
 * Locks of a file that only one node has open are not told to it (client/core/locks.h).
 */
#include "tools/command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "fs/base/ranges.h"
#include "tools/admin.h"
#include "tools/path_inode.h"
#include "tools/status.h"

#define LOCKS_MS 5000u

struct locks_arguments {
	struct command_target target;
	const char *path;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct locks_arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->target;
		break;
	case ARGP_KEY_ARG:
		if (a->path)
			argp_error(state, "wants one path at most");
		a->path = text;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const char *kind_name(const Wire__LockClaim *l)
{
	return l->kind == 2 ? "flock" : "fcntl";
}

static const char *mode_name(const Wire__LockClaim *l)
{
	return l->mode == RANGE_WRITE ? "write" : "read";
}

static json_t *locks_json(const Wire__LockListReply *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n_locks; i++) {
		const Wire__LockInfo *info = r->locks[i];
		const Wire__LockClaim *l = info->lock;

		if (l)
			json_array_append_new(
				list, json_pack("{s:I, s:s, s:s, s:I, s:I, s:s, s:I, s:b}", "inode",
						(json_int_t)l->ino, "kind", kind_name(l), "mode",
						mode_name(l), "start", (json_int_t)l->start, "end",
						(json_int_t)l->end, "node", info->node, "pid",
						(json_int_t)l->pid, "waiting", (int)info->waiting));
	}
	return json_pack("{s:o, s:I, s:I, s:b}", "locks", list, "held", (json_int_t)r->held,
			 "waiting", (json_int_t)r->waiting, "more", (int)r->more);
}

static void print_one(const Wire__LockInfo *info)
{
	const Wire__LockClaim *l = info->lock;
	char range[48];

	if (l->start == 0 && l->end >= RANGE_END)
		snprintf(range, sizeof range, "all");
	else if (l->end >= RANGE_END)
		snprintf(range, sizeof range, "%" PRIu64 "-", l->start);
	else
		snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, l->start, l->end);
	printf("%10" PRIu64 "  %-5s  %-5s  %-24s  %-7s  %8" PRIu32 "  %s\n", l->ino, kind_name(l),
	       mode_name(l), range, info->waiting ? "waits" : "holds", l->pid, info->node);
}

static void print_people(const Wire__LockListReply *r)
{
	if (r->n_locks > 0)
		printf("%10s  %-5s  %-5s  %-24s  %-7s  %8s  %s\n", "INODE", "KIND", "MODE", "BYTES",
		       "", "PROCESS", "NODE");
	for (size_t i = 0; i < r->n_locks; i++)
		if (r->locks[i]->lock)
			print_one(r->locks[i]);
	printf("%s%" PRIu64 " held, %" PRIu64 " waited for, in all", r->more ? "...\n" : "",
	       r->held, r->waiting);
	puts(r->held ? "" : "; a node that has a file for itself keeps its locks to itself");
}

static int ask(const struct locks_arguments *a, ProtobufCMessage **reply, struct error *err)
{
	Wire__LockList msg = WIRE__LOCK_LIST__INIT;
	struct admin *admin;
	char address[256];
	inode_no ino = 0;
	int rc = admin_find(a->target.mds, address, sizeof address, err);

	if (rc == 0 && a->path)
		rc = path_inode(a->path, &ino, err);
	if (rc == 0)
		rc = admin_open(address, &admin, err);
	if (rc < 0)
		return rc;
	msg.ino = ino;
	rc = admin_call(admin, MSG_LOCK_LIST, &msg.base, LOCKS_MS, reply, err);
	admin_close(admin);
	return rc;
}

int cmd_locks(int argc, char **argv)
{
	static const struct argp argp = {
		NULL, parse_option, "[PATH]",
		"Show who has locks of fcntl(2) and flock(2), and who waits for them: of one file, "
		"or of all. Locks of a file that only one node has open are known to that node "
		"alone, and not shown.",
		command_target_options, NULL, NULL};
	struct locks_arguments a = {0};
	struct error err = {0};
	ProtobufCMessage *reply = NULL;
	int status = COMMAND_DONE;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	if (ask(&a, &reply, &err) < 0)
		return command_fail("locks", &err);
	if (a.target.json)
		status = status_print_json(locks_json((const void *)reply));
	else
		print_people((const void *)reply);
	msg_free(reply);
	return status;
}
