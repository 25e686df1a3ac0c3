/* SPDX-License-Identifier: Apache-2.0 */
/* cairn metrics: the counters of each server, as fs/base/metrics.def describes them. */
#include "tools/command.h"

#include <jansson.h>
#include <stdio.h>

#include "tools/admin.h"
#include "tools/status.h"

#define METRICS_MS 5000u

struct metrics_arguments {
	struct command_target target;
	const char *address;
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct metrics_arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT: state->child_inputs[0] = &a->target; break;
	case ARGP_KEY_ARG:
		if (a->address)
			argp_error(state, "unexpected argument '%s'", text);
		a->address = text;
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {NULL,
				 parse_option,
				 "[HOST:PORT]",
				 "Print the counters of the metadata server and of all chunk "
				 "servers, or of one server. They only rise, from "
				 "the start of the process. With --json an object for each "
				 "server, by address.",
				 command_target_options,
				 NULL,
				 NULL};

static void print_people(const char *address, const Wire__MetricsReply *reply)
{
	printf("%s\n", address);
	for (size_t i = 0; i < reply->n_metrics; i++) {
		const Wire__Metric *m = reply->metrics[i];

		printf("  %-24s %16llu %-12s %s\n", m->name, (unsigned long long)m->value, m->unit,
		       m->text);
	}
}

static json_t *server_json(const Wire__MetricsReply *reply)
{
	json_t *object = json_object();

	for (size_t i = 0; i < reply->n_metrics; i++)
		json_object_set_new(object, reply->metrics[i]->name,
				    json_integer((json_int_t)reply->metrics[i]->value));
	return object;
}

/* Ask one server; its counters go to `all`, or to stdout where that is NULL. */
static int show(struct admin *admin, const char *address, json_t *all, struct error *err)
{
	Wire__Empty ask = WIRE__EMPTY__INIT;
	ProtobufCMessage *reply;
	struct admin_question q = {address, MSG_METRICS, &ask.base, METRICS_MS, NULL};
	int rc = admin_ask(admin, &q, &reply, err);

	if (rc < 0)
		return rc;
	if (all)
		json_object_set_new(all, address,
				    server_json((const Wire__MetricsReply *)(const void *)reply));
	else
		print_people(address, (const Wire__MetricsReply *)(const void *)reply);
	msg_free(reply);
	return 0;
}

/* A server that does not answer is told and passed over: the others still count. */
static int show_all(struct admin *admin, const char *mds, json_t *all, struct error *err)
{
	struct status s;
	struct error why = { 0 };
	int rc = status_get(mds, &s, err);

	if (rc == 0)
		rc = show(admin, mds, all, err);
	for (size_t i = 0; rc == 0 && i < s.reply->n_servers; i++)
		if (show(admin, s.reply->servers[i]->address, all, &why) < 0)
			(void)command_fail("metrics", &why);
	status_finish(&s);
	if (rc == 0 && why.code < 0)
		*err = why;
	return rc == 0 ? why.code : rc;
}

int cmd_metrics(int argc, char **argv)
{
	struct metrics_arguments a = { 0 };
	struct error err = { 0 };
	struct admin *admin = NULL;
	char mds[256];
	json_t *all;
	int rc;

	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	all = a.target.json ? json_object() : NULL;
	rc = admin_find(a.target.mds, mds, sizeof mds, &err);
	if (rc == 0)
		rc = admin_open(mds, &admin, &err);
	if (rc == 0)
		rc = a.address ? show(admin, a.address, all, &err)
			       : show_all(admin, mds, all, &err);
	if (all && rc == 0)
		rc = status_print_json(json_incref(all)) == COMMAND_DONE ? 0 : -E_IO;
	json_decref(all);
	admin_close(admin);
	return rc < 0 ? command_fail("metrics", &err) : COMMAND_DONE;
}
