/* SPDX-License-Identifier: Apache-2.0 */
/* cairn reencode: how far chunk servers are with encoding blocks anew; begin a pass, pause it. */
#include "tools/command.h"

#include <jansson.h>
#include <stdio.h>

#include "fs/base/text.h"
#include "tools/pass_command.h"

#define CALL_MS 5000u

static const struct argp_option options[] = {
	PASS_COMMAND_OPTIONS("begin a pass now that takes every block for cold"),
	{0},
};

static const struct argp argp = {
	options, pass_command_option, "[SERVER...]",
	"Chunk servers encode anew what nobody used for cs.cold_after, to make it smaller, and "
	"what is hot and dear to decode, to make it faster: one server after the other, and each "
	"encoding is decoded and compared before it is used. Show how far they are, begin a pass, "
	"or pause. SERVER: a number or an address; none: all.",
	command_target_options, NULL, NULL};

static const Wire__ReencodeStatus *status_of(const ProtobufCMessage *reply)
{
	return ((const Wire__ReencodeReply *)(const void *)reply)->status;
}

static int ask(const struct pass_question *q, ProtobufCMessage **reply, struct error *err)
{
	Wire__Reencode message = WIRE__REENCODE__INIT;
	struct admin_question reencode = {q->address, MSG_REENCODE, &message.base, CALL_MS, NULL};

	message.action = q->action;
	int rc = admin_ask(q->admin, &reencode, reply, err);
	if (rc < 0 || status_of(*reply))
		return rc;
	msg_free(*reply);
	return error_set(err, -E_MALFORMED, "cannot understand %s", q->address);
}

/* The speed is of what is decoded and encoded: it tells nothing of what needs neither. */
static void progress(const ProtobufCMessage *reply, struct pass_progress *out)
{
	const Wire__ReencodeStatus *r = status_of(reply);

	*out = (struct pass_progress){
		.is_running = r->running && !r->paused && !r->wrong,
		.is_wrong = r->wrong,
		.bytes_done = r->bytes_done,
		.bytes_total = r->bytes_total,
	};
}

static const char *state_text(const Wire__ReencodeStatus *r)
{
	if (r->wrong)
		return "STOPPED";
	if (r->paused)
		return "paused";
	if (!r->running)
		return "idle";
	return r->turn ? "working" : "waiting";
}

static void print_head(void)
{
	printf("%-6s %-8s %5s %8s %12s %12s %12s %12s  %s\n", "SERVER", "STATE", "PASS", "DONE",
	       "SPEED", "BLOCKS", "BEFORE", "AFTER", "LAST WHOLE PASS");
}

static void print(const Wire__ServerStatus *server, const ProtobufCMessage *reply)
{
	const Wire__ReencodeStatus *r = status_of(reply);
	char speed[TEXT_BYTES_HUMAN], before[TEXT_BYTES_HUMAN], after[TEXT_BYTES_HUMAN],
		done[PASS_DONE_BYTES], ended[STATUS_WHEN_BYTES];

	pass_command_done(done, r->bytes_done, r->bytes_total);
	printf("%-6u %-8s %5llu %8s %10s/s %12llu %12s %12s  %s\n", server->server, state_text(r),
	       (unsigned long long)r->pass, r->running ? done : "-",
	       text_bytes_human(speed, r->bytes_per_s), (unsigned long long)r->blocks,
	       text_bytes_human(before, r->bytes_before), text_bytes_human(after, r->bytes_after),
	       status_when(ended, r->finished_wall_ns));
}

static json_t *server_json(const Wire__ServerStatus *server, const ProtobufCMessage *reply)
{
	json_t *one = status_reencode_json(status_of(reply));

	json_object_set_new(one, "server", json_integer((json_int_t)server->server));
	json_object_set_new(one, "address", json_string(server->address));
	return one;
}

/* Why nobody works, if that is so. */
static void print_foot(const struct status *s, bool is_running)
{
	const Wire__StatusReply *r = s->reply;

	if (is_running && r->pgs_clean < r->pgs_total)
		printf("nothing is encoded anew until all placement groups have all copies: %u of "
		       "%u have\n",
		       r->pgs_clean, r->pgs_total);
}

int cmd_reencode(int argc, char **argv)
{
	static const struct pass_command reencode = {
		.name = "reencode",
		.argp = &argp,
		.ask = ask,
		.progress = progress,
		.print_head = print_head,
		.print = print,
		.json = server_json,
		.print_foot = print_foot,
	};

	return pass_command_run(&reencode, argc, argv);
}
