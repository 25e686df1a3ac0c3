/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn scrub: how far each chunk server is with re-reading what it stores; begin a pass, pause it.
 */
#include "tools/command.h"

#include <jansson.h>
#include <stdio.h>

#include "fs/base/text.h"
#include "tools/pass_command.h"

#define CALL_MS	 5000u
#define NS_PER_S 1000000000ull

static const struct argp_option options[] = {
	PASS_COMMAND_OPTIONS("begin a pass now, as fast as cs.scrub_bytes_per_s allows"),
	{"deep", 'd', NULL, 0, "with --now: decode every block and prove its id, too", 0},
	{0},
};

static const struct argp argp = {
	options, pass_command_option, "[SERVER...]",
	"Chunk servers read all they store within cs.scrub_period and check it; what is wrong is "
	"fetched from another replica. Show how far they are, begin a pass, or pause. "
	"SERVER: a number or an address; none: all.",
	command_target_options, NULL, NULL};

static const Wire__ScrubReply *reply_of(const ProtobufCMessage *reply)
{
	return (const Wire__ScrubReply *)(const void *)reply;
}

static int ask(const struct pass_question *q, ProtobufCMessage **reply, struct error *err)
{
	Wire__Scrub message = WIRE__SCRUB__INIT;
	struct admin_question scrub = {q->address, MSG_SCRUB, &message.base, CALL_MS, NULL};

	message.action = q->action;
	message.deep = q->deep;
	return admin_ask(q->admin, &scrub, reply, err);
}

static void progress(const ProtobufCMessage *reply, struct pass_progress *out)
{
	const Wire__ScrubReply *r = reply_of(reply);

	*out = (struct pass_progress){
		.is_running = r->running && !r->paused,
		.bytes_done = r->bytes_done,
		.bytes_total = r->bytes_total,
		.bytes_per_s = r->bytes_per_s,
	};
}

static const char *state_text(const Wire__ScrubReply *r)
{
	if (r->paused)
		return "paused";
	if (!r->running)
		return "waiting";
	return r->deep ? "deep pass" : "pass";
}

static void print_head(void)
{
	printf("%-6s %-10s %6s %8s %12s %12s %10s %8s  %s\n", "SERVER", "SCRUB", "PASS", "DONE",
	       "RECORDS", "SPEED", "WRONG", "BEFORE", "LAST WHOLE PASS");
}

static void print(const Wire__ServerStatus *server, const ProtobufCMessage *reply)
{
	const Wire__ScrubReply *r = reply_of(reply);
	char speed[TEXT_BYTES_HUMAN], done[PASS_DONE_BYTES], ended[STATUS_WHEN_BYTES];

	printf("%-6u %-10s %6llu %8s %12llu %10s/s %10llu %8llu  %s\n", server->server,
	       state_text(r), (unsigned long long)r->pass,
	       pass_command_done(done, r->bytes_done, r->bytes_total),
	       (unsigned long long)r->records,
	       text_bytes_human(speed, r->running ? r->bytes_per_s : 0),
	       (unsigned long long)r->wrong, (unsigned long long)r->wrong_last,
	       status_when(ended, r->finished_wall_ns));
}

static json_t *server_json(const Wire__ServerStatus *server, const ProtobufCMessage *reply)
{
	const Wire__ScrubReply *r = reply_of(reply);

	return json_pack(
		"{s:I, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"server", (json_int_t)server->server, "address", server->address, "running",
		r->running, "deep", r->deep, "paused", r->paused, "pass", (json_int_t)r->pass,
		"bytes_done", (json_int_t)r->bytes_done, "bytes_total", (json_int_t)r->bytes_total,
		"records", (json_int_t)r->records, "wrong", (json_int_t)r->wrong, "wrong_last",
		(json_int_t)r->wrong_last, "bytes_per_s", (json_int_t)r->bytes_per_s, "eta_s",
		(json_int_t)pass_command_eta_s(r->bytes_done, r->bytes_total, r->bytes_per_s),
		"started", (json_int_t)(r->started_wall_ns / NS_PER_S), "finished",
		(json_int_t)(r->finished_wall_ns / NS_PER_S));
}

int cmd_scrub(int argc, char **argv)
{
	static const struct pass_command scrub = {
		.name = "scrub",
		.argp = &argp,
		.ask = ask,
		.progress = progress,
		.print_head = print_head,
		.print = print,
		.json = server_json,
	};

	return pass_command_run(&scrub, argc, argv);
}
