/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of commands about passes: asking each server, waiting, showing. */
#include "tools/pass_command.h"

#include <stdio.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/named_servers.h"

#define POLL_US 200000u

struct arguments {
	struct command_target target;
	enum pass_action action;
	int chosen; /* the option that says so, or 0 */
	bool deep, wait;
	struct named_servers named;
};

/* One look at all servers, and what it found. */
struct look {
	const struct pass_command *command;
	const struct arguments *arguments;
	struct admin *admin;
	const struct status *status;
	enum pass_action action;
	bool is_quiet;
	json_t *list; /* NULL: for people */

	uint32_t running, wrong;
	struct pass_progress sum;
	struct error why; /* of a server that does not answer */
};

/* --- the command line --- */

error_t pass_command_option(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	if (key == 's' || key == 'n' || key == 'S')
		command_choose(state, &a->chosen, key);
	switch (key) {
	case ARGP_KEY_INIT: state->child_inputs[0] = &a->target; break;
	case 's': a->action = PASS_TELL; break;
	case 'n': a->action = PASS_BEGIN; break;
	case 'S': a->action = PASS_PAUSE; break;
	case 'd': a->deep = true; break;
	case 'w': a->wait = true; break;
	case ARGP_KEY_ARG:
		if (!named_servers_add(&a->named, text))
			argp_error(state, "too many servers");
		break;
	case ARGP_KEY_END:
		if (a->deep && a->action != PASS_BEGIN)
			argp_error(state, "--deep goes with --now");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* --- showing --- */

const char *pass_command_done(char out[PASS_DONE_BYTES], uint64_t part, uint64_t whole)
{
	(void)snprintf(out, PASS_DONE_BYTES, "%.1f %%",
		       whole ? 100.0 * (double)part / (double)whole : 100.0);
	return out;
}

uint64_t pass_command_eta_s(uint64_t done, uint64_t total, uint64_t bytes_per_s)
{
	return total > done && bytes_per_s > 0 ? (total - done) / bytes_per_s : 0;
}

static void show_progress(const struct pass_progress *sum)
{
	char done[TEXT_BYTES_HUMAN], total[TEXT_BYTES_HUMAN];

	fprintf(stderr, "\r%s of %s", text_bytes_human(done, sum->bytes_done),
		text_bytes_human(total, sum->bytes_total));
	if (sum->bytes_per_s > 0)
		fprintf(stderr, ", %llu s left",
			(unsigned long long)pass_command_eta_s(sum->bytes_done, sum->bytes_total,
							       sum->bytes_per_s));
	fputs(" \033[K", stderr);
}

/* --- asking --- */

static void take(struct look *look, const Wire__ServerStatus *server, const ProtobufCMessage *reply)
{
	const struct pass_command *c = look->command;
	struct pass_progress one = {0};

	c->progress(reply, &one);
	look->running += one.is_running;
	look->wrong += one.is_wrong;
	look->sum.bytes_done += one.bytes_done;
	look->sum.bytes_total += one.bytes_total;
	look->sum.bytes_per_s += one.bytes_per_s;
	if (look->is_quiet)
		return;
	if (look->list)
		json_array_append_new(look->list, c->json(server, reply));
	else
		c->print(server, reply);
}

static void ask_server(struct look *look, const Wire__ServerStatus *server)
{
	struct pass_question q = {
		.admin = look->admin,
		.address = server->address,
		.action = look->action,
		.deep = look->arguments->deep,
	};
	ProtobufCMessage *reply;

	if (look->command->ask(&q, &reply, &look->why) < 0) {
		/* One that was not told what to do is not asked for that again. */
		if (!look->is_quiet || look->action != PASS_TELL)
			(void)command_fail(look->command->name, &look->why);
		return;
	}
	take(look, server, reply);
	msg_free(reply);
}

static void ask_all(struct look *look)
{
	const Wire__StatusReply *r = look->status->reply;

	for (size_t i = 0; i < r->n_servers; i++) {
		if (named_servers_has(&look->arguments->named, r->servers[i]))
			ask_server(look, r->servers[i]);
	}
}

/* Ask what is to be asked, then look on until no pass runs. Why it was not begun stays. */
static void ask_and_wait(struct look *begin)
{
	bool is_terminal = isatty(STDERR_FILENO);
	struct look look = *begin;

	look.is_quiet = true;
	ask_all(&look);
	if (begin->action != PASS_TELL)
		begin->why = look.why;
	do {
		look = *begin;
		look.is_quiet = true;
		look.action = PASS_TELL;
		usleep(POLL_US);
		ask_all(&look);
		if (is_terminal)
			show_progress(&look.sum);
	} while (look.running > 0);
	if (is_terminal)
		fputs("\r\033[K", stderr);
}

/* An exit status; a server that is none is an error. */
static int run(struct look *look, struct error *err)
{
	const struct arguments *a = look->arguments;
	const struct pass_command *c = look->command;
	int rc = named_servers_check(&a->named, look->status, err);

	if (rc < 0)
		return rc;
	if (a->wait) {
		ask_and_wait(look);
		look->action = PASS_TELL;
	}
	if (a->target.json)
		look->list = json_array();
	else
		c->print_head();
	ask_all(look);
	if (look->list &&
	    status_print_json(json_pack("{s:o}", "servers", look->list)) != COMMAND_DONE)
		return COMMAND_FAILED;
	if (!a->target.json && c->print_foot)
		c->print_foot(look->status, look->running > 0);
	/* Why was told already, server by server. */
	return look->why.code < 0 || look->wrong > 0 ? COMMAND_FAILED : COMMAND_DONE;
}

int pass_command_run(const struct pass_command *c, int argc, char **argv)
{
	struct arguments a = {0};
	struct error err = {0};
	struct admin *admin = NULL;
	struct status s = {0};
	char mds[256];

	if (command_parse(c->argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	int rc = admin_find(a.target.mds, mds, sizeof mds, &err);
	if (rc == 0)
		rc = admin_open(mds, &admin, &err);
	if (rc == 0)
		rc = status_get(mds, &s, &err);
	if (rc == 0) {
		struct look look = {
			.command = c,
			.arguments = &a,
			.admin = admin,
			.status = &s,
			.action = a.action,
		};
		rc = run(&look, &err);
		status_finish(&s);
	}
	admin_close(admin);
	return rc < 0 ? command_fail(c->name, &err) : rc;
}
