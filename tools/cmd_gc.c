/* SPDX-License-Identifier: Apache-2.0 */
/* cairn gc: what the garbage collector does and did; run it now, count only, stop it. */
#include "tools/command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/admin.h"
#include "tools/status.h"

#define GC_MS	   5000u
#define POLL_US	   200000u
#define NS_PER_S   1000000000ull

/* Gc.action of the wire. */
enum gc_action { GC_TELL, GC_NOW, GC_DRY_RUN, GC_STOP };

struct gc_arguments {
	struct command_target target;
	enum gc_action action;
	int chosen; /* the option that says so, or 0 */
};

static const struct argp_option options[] = {
	{"status", 's', NULL, 0, "tell what it does and did (the default)", 0},
	{"now", 'n', NULL, 0,
	 "collect now, without a grace, and give the space back; waits for the end", 0},
	{"dry-run", 'd', NULL, 0, "find out what would go, and delete nothing; waits for the end",
	 0},
	{"stop", 'S', NULL, 0, "end what runs; nothing more is deleted", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct gc_arguments *a = state->input;

	if (key == 's' || key == 'n' || key == 'd' || key == 'S')
		command_choose(state, &a->chosen, key);
	switch (key) {
	case 's': a->action = GC_TELL; break;
	case 'n': a->action = GC_NOW; break;
	case 'd': a->action = GC_DRY_RUN; break;
	case 'S': a->action = GC_STOP; break;
	case ARGP_KEY_INIT: state->child_inputs[0] = &a->target; break;
	case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", text); break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse_option,
	"",
	"Blocks that no file names any more are collected every mds.gc_ms, kept in trash for "
	"mds.gc_grace_ms, and then "
	"freed. Show what the collector does, run it now, count only, or stop it.",
	command_target_options,
	NULL,
	NULL};

static const char *phase_name(uint32_t phase)
{
	static const char *const names[] = {"idle", "epoch", "begin", "list",
					    "mark", "check", "sweep", "end"};

	return phase < ARRAY_COUNT(names) ? names[phase] : "?";
}

static int ask(struct admin *admin, enum gc_action action, ProtobufCMessage **reply,
	       struct error *err)
{
	Wire__Gc msg = WIRE__GC__INIT;
	int rc;

	msg.action = action;
	rc = admin_call(admin, MSG_GC, &msg.base, GC_MS, reply, err);
	if (rc == 0 && !((const Wire__GcReply *)(const void *)*reply)->status) {
		msg_free(*reply);
		return error_say(err, -E_MALFORMED,
				 "the metadata server tells nothing of its collector");
	}
	return rc;
}

static const Wire__GcStatus *status_of(const ProtobufCMessage *reply)
{
	return ((const Wire__GcReply *)(const void *)reply)->status;
}

/* --- showing --- */

static json_t *status_to_json(const Wire__GcStatus *s)
{
	json_t *unwalkable = json_array();

	for (size_t i = 0; i < s->n_unwalkable; i++)
		json_array_append_new(unwalkable, json_integer((json_int_t)s->unwalkable[i]));
	return json_pack("{s:b, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:I, s:I, "
			 "s:I, s:I, s:I, s:I, s:o}",
			 "running", s->running, "phase", phase_name(s->phase), "waits_for",
			 s->waits_for, "dry_run", s->dry_run, "epoch", (json_int_t)s->epoch,
			 "roots_done", (json_int_t)s->roots_done, "roots_total",
			 (json_int_t)s->roots_total, "nodes", (json_int_t)s->nodes, "marks",
			 (json_int_t)s->marks, "finished",
			 (json_int_t)(s->finished_wall_ns / NS_PER_S), "result",
			 s->cycles == 0	   ? ""
			 : s->last_rc == 0 ? "OK"
					   : error_name(s->last_rc),
			 "text", s->last_text, "blocks", (json_int_t)s->last_blocks, "bytes",
			 (json_int_t)s->last_bytes, "young", (json_int_t)s->last_young, "moving",
			 (json_int_t)s->last_moving, "cycles", (json_int_t)s->cycles, "failed",
			 (json_int_t)s->failed, "unwalkable", unwalkable);
}

static void print_last(const Wire__GcStatus *s)
{
	char ended[STATUS_WHEN_BYTES], bytes[TEXT_BYTES_HUMAN];

	printf("last: %s, %s\n", status_when(ended, s->finished_wall_ns), s->last_text);
	if (s->last_rc < 0)
		return;
	printf("  %" PRIu64 " blocks, %s, of no file and old enough %s\n", s->last_blocks,
	       text_bytes_human(bytes, s->last_bytes), s->dry_run ? "would go" : "went");
	if (s->last_young)
		printf("  %" PRIu64 " blocks of no file were put or touched lately: maybe a file "
				    "is being written\n",
		       s->last_young);
	if (s->last_moving)
		printf("  %" PRIu64
		       " blocks were left alone, since their servers changed meanwhile\n",
		       s->last_moving);
}

static void print_status(const Wire__GcStatus *s)
{
	if (s->running)
		printf("running: %s%s, %" PRIu64 " of about %" PRIu64 " files, %" PRIu64
		       " nodes, %" PRIu64 " marks%s%s\n",
		       phase_name(s->phase), s->dry_run ? " (dry run)" : "", s->roots_done,
		       s->roots_total, s->nodes, s->marks, s->waits_for[0] ? "; waits for " : "",
		       s->waits_for);
	else
		puts("idle");
	if (s->cycles > 0)
		print_last(s);
	for (size_t i = 0; i < s->n_unwalkable; i++)
		printf("  inode %" PRIu64
		       " cannot be read: nothing is collected until it is repaired or deleted\n",
		       s->unwalkable[i]);
	printf("%" PRIu64 " cycles since the start, %" PRIu64
	       " of them without success; epoch %" PRIu64 "\n",
	       s->cycles, s->failed, s->epoch);
}

static void print_progress(const Wire__GcStatus *s)
{
	fprintf(stderr,
		"\r%s: %" PRIu64 " of about %" PRIu64 " files, %" PRIu64 " marks%s%s \033[K",
		phase_name(s->phase), s->roots_done, s->roots_total, s->marks,
		s->waits_for[0] ? "; waits for " : "", s->waits_for);
}

/* --- asking --- */

/* Until the run that `*reply` tells of as the newest has ended; *reply is its last answer. */
static int wait_for_end(struct admin *admin, ProtobufCMessage **reply, struct error *err)
{
	bool is_terminal = isatty(STDERR_FILENO);
	uint64_t number = status_of(*reply)->asked;
	int rc = 0;

	while (rc == 0 && status_of(*reply)->served < number) {
		if (is_terminal)
			print_progress(status_of(*reply));
		usleep(POLL_US);
		msg_free(*reply);
		rc = ask(admin, GC_TELL, reply, err);
		if (rc == 0 && status_of(*reply)->asked < number) {
			msg_free(*reply);
			rc = error_say(err, -E_CANCELED,
				       "the metadata server restarted: ask again");
		}
	}
	if (is_terminal)
		fputs("\r\033[K", stderr);
	return rc;
}

static int run(const struct gc_arguments *a, struct admin *admin, struct error *err)
{
	ProtobufCMessage *reply = NULL;
	const Wire__GcStatus *s;
	int rc = ask(admin, a->action, &reply, err);

	if (rc == 0 && (a->action == GC_NOW || a->action == GC_DRY_RUN))
		rc = wait_for_end(admin, &reply, err);
	if (rc < 0)
		return command_fail("gc", err);
	s = status_of(reply);
	rc = (a->action == GC_NOW || a->action == GC_DRY_RUN) && s->last_rc < 0 ? COMMAND_FAILED
										: COMMAND_DONE;
	if (a->target.json && status_print_json(status_to_json(s)) != COMMAND_DONE)
		rc = COMMAND_FAILED;
	if (!a->target.json)
		print_status(s);
	msg_free(reply);
	return rc;
}

int cmd_gc(int argc, char **argv)
{
	struct gc_arguments a = { 0 };
	struct error err = { 0 };
	struct admin *admin = NULL;
	char mds[256];
	int rc;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	rc = admin_find(a.target.mds, mds, sizeof mds, &err);
	if (rc == 0)
		rc = admin_open(mds, &admin, &err);
	rc = rc < 0 ? command_fail("gc", &err) : run(&a, admin, &err);
	admin_close(admin);
	return rc;
}
