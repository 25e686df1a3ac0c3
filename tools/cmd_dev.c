/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn dev: an ephemeral cluster around one command. It is a contract that tests, benchmarks and
 * outside harnesses build on (cairn-dev(1)): format, start, mount, run the command, take all down,
 * also when interrupted. Inside, `cairn dev start NAME` and `stop NAME` handle single processes.
 */
#include "tools/command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/host.h"
#include "tools/process.h"
#include "tools/remove_tree.h"

#define NAME "dev"

struct dev_arguments {
	uint32_t servers, copies, mounts;	/* 0: not given */
	const char *dir;
	bool keep, with_acl;
	enum hash_kind hash; /* 0: not given */
	const char *sets[LAYOUT_SETS_MAX];
	uint32_t set_count;
	char **command;				/* NULL-terminated; NULL: a shell */
};

static const struct argp_option options[] = {
	{"servers", 'n', "N", 0, "chunk servers (3)", 0},
	{"copies", 'c', "N", 0, "copies of each block (3, at most the servers)", 0},
	{"mounts", 'm', "N", 0, "mounts, each a client process (1)", 0},
	{"dir", 'd', "DIR", 0, "keep the cluster here; one that is there is used with its data", 0},
	{"acl", 'a', NULL, 0, "a file system with POSIX ACLs", 0},
	{"hash", 'H', "NAME", 0, "block names: sha256 (default) or sha3-256", 0},
	{"keep", 'k', NULL, 0, "do not remove the folder at the end", 0},
	{"set", 's', "SECTION.KEY=VALUE", 0, "a setting of cairn.conf(5)", 0},
	{0},
};

static uint32_t number_argument(struct argp_state *state, const char *what, const char *text,
				uint32_t max)
{
	uint64_t n;

	if (text_parse_u64(text, &n) < 0 || n < 1 || n > max)
		argp_error(state, "--%s wants a number from 1 to %u", what, max);
	return (uint32_t)n;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct dev_arguments *a = state->input;

	switch (key) {
	case 'n': a->servers = number_argument(state, "servers", text, LAYOUT_SERVERS_MAX); break;
	case 'c': a->copies = number_argument(state, "copies", text, COPIES_MAX); break;
	case 'm': a->mounts = number_argument(state, "mounts", text, LAYOUT_MOUNTS_MAX); break;
	case 'd': a->dir = text; break;
	case 'a': a->with_acl = true; break;
	case 'k': a->keep = true; break;
	case 'H':
		if (block_id_hash_parse(text, &a->hash) < 0)
			argp_error(state, "unknown hash '%s': wants sha256 or sha3-256", text);
		break;
	case 's':
		if (!strchr(text, '.') || !strchr(text, '='))
			argp_error(state, "--set wants SECTION.KEY=VALUE, not '%s'", text);
		if (a->set_count == LAYOUT_SETS_MAX)
			argp_error(state, "at most %u --set options", LAYOUT_SETS_MAX);
		a->sets[a->set_count++] = text;
		break;
	case ARGP_KEY_ARG:
		a->command = state->argv + state->next - 1;
		state->next = state->argc;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse_option,
	"[-- COMMAND ARGUMENTS...]\nstart NAME\nstop NAME",
	"Run COMMAND (or a shell) with a cluster of its own around it, then take the cluster down."
	"\vCOMMAND sees CAIRN_DIR, CAIRN_MNT, CAIRN_MNT2 ... and our programs first in PATH; its "
	"exit status is "
	"ours. Inside, `cairn dev start NAME` and `cairn dev stop NAME` start and stop one "
	"process: mds, cs1 ..., "
	"client1 ... See cairn-dev(1).",
	NULL,
	NULL,
	NULL};

/* --- start and stop, from inside -------------------------------------------------------------- */

/* A new number behind the last one joins as a new server. */
static int add_if_next(struct layout *l, const char *name, struct error *err)
{
	enum layout_role role;
	uint32_t index;
	int rc;

	if (layout_parse_name(name, &role, &index) < 0 || role != LAYOUT_CS ||
	    index != l->server_count)
		return 0;
	rc = layout_add_server(l, err);
	return rc < 0 ? rc : layout_save(l, err);
}

static int run_inside(const char *verb, const char *name)
{
	const char *dir = getenv("CAIRN_DIR");
	struct layout l;
	struct error err = { 0 };
	int rc;

	if (!dir) {
		fprintf(stderr,
			"cairn dev: '%s' works inside `cairn dev`, where CAIRN_DIR is set\n", verb);
		return COMMAND_USAGE;
	}
	rc = layout_load(&l, dir, &err);
	if (rc < 0)
		return command_fail(NAME, &err);
	if (strcmp(verb, "start") == 0) {
		rc = add_if_next(&l, name, &err);
		if (rc == 0)
			rc = host_start(&l, name, &err);
	} else {
		rc = host_stop(&l, name, &err);
	}
	layout_finish(&l);
	return rc < 0 ? command_fail(NAME, &err) : COMMAND_DONE;
}

/* --- the cluster's folder --------------------------------------------------------------------- */

static int conflict(struct error *err, const char *what, uint32_t asked, uint32_t has)
{
	return error_say(err, -E_EXIST,
			 "--%s %u conflicts with the cluster in that folder, which has %u", what,
			 asked, has);
}

static int reuse(const struct dev_arguments *a, struct layout *l, struct error *err)
{
	if (a->servers && a->servers != l->server_count)
		return conflict(err, "servers", a->servers, l->server_count);
	if (a->copies && a->copies != l->copies)
		return conflict(err, "copies", a->copies, l->copies);
	if (a->with_acl && !l->with_acl)
		return error_say(err, -E_EXIST,
				 "--acl conflicts with the cluster in that folder: it has none");
	if (a->hash && a->hash != l->hash)
		return error_say(err, -E_EXIST,
				 "--hash %s conflicts with the cluster in that folder: it has %s",
				 block_id_hash_name(a->hash), block_id_hash_name(l->hash));
	for (uint32_t i = l->mount_count; i < a->mounts; i++)
		layout_numbered(l, l->mount_dirs[i], "mnt", i + 1);
	if (a->mounts)
		l->mount_count = a->mounts;
	return 0;
}

static int plan(const struct dev_arguments *a, const char *dir, struct layout *l, struct error *err)
{
	uint32_t servers = a->servers ? a->servers : 3;
	uint32_t copies = a->copies ? a->copies : MIN_OF(3u, servers);
	int rc;

	if (copies > servers)
		return error_say(err, -E_INVAL, "%u copies need at least as many servers, not %u",
				 copies, servers);
	rc = layout_load(l, dir, err);
	if (rc == 0)
		rc = reuse(a, l, err);
	else if (rc == -E_NOENT)
		rc = layout_plan(l,
				 &(struct layout_options){.dir = dir,
							  .servers = servers,
							  .copies = copies,
							  .mounts = a->mounts ? a->mounts : 1,
							  .with_acl = a->with_acl,
							  .hash = a->hash},
				 err);
	for (uint32_t i = 0; rc == 0 && i < a->set_count; i++)
		rc = layout_add_set(l, a->sets[i], err);
	return rc == 0 ? layout_save(l, err) : rc;
}

static int choose_folder(const struct dev_arguments *a, char out[PATH_MAX], struct error *err)
{
	const char *tmp = getenv("TMPDIR");

	if (!a->dir) {
		snprintf(out, PATH_MAX, "%s/cairn-dev-XXXXXX", tmp && *tmp ? tmp : "/tmp");
		return mkdtemp(out)
			       ? 0
			       : error_set(err, error_from_errno(errno), "cannot create '%s'", out);
	}
	if (mkdir(a->dir, 0755) != 0 && errno != EEXIST)
		return error_set(err, error_from_errno(errno), "cannot create '%s'", a->dir);
	return realpath(a->dir, out)
		       ? 0
		       : error_set(err, error_from_errno(errno), "cannot use '%s'", a->dir);
}

/* --- the command ------------------------------------------------------------------------------ */

static volatile sig_atomic_t command_pid;
static volatile sig_atomic_t was_interrupted;

static void pass_on_signal(int signo)
{
	was_interrupted = signo;
	if (command_pid > 0)
		kill((pid_t)command_pid, signo);
}

static void set_environment(const struct layout *l)
{
	char program[PATH_MAX], value[2 * PATH_MAX], name[32];
	struct error ignored;
	const char *path = getenv("PATH");

	setenv("CAIRN_DIR", l->dir, 1);
	for (uint32_t i = 0; i < l->mount_count; i++) {
		snprintf(name, sizeof name, i ? "CAIRN_MNT%u" : "CAIRN_MNT", i + 1);
		setenv(name, l->mount_dirs[i], 1);
	}
	if (process_program("cairn", program, sizeof program, &ignored) == 0) {
		*strrchr(program, '/') = '\0';
		snprintf(value, sizeof value, "%s:%s", program, path ? path : "/usr/bin:/bin");
		setenv("PATH", value, 1);
	}
}

/* Wait for the command, reaping server processes that ended meanwhile. */
static int wait_for(pid_t pid)
{
	int status;

	for (;;) {
		pid_t ended = waitpid(-1, &status, 0);

		if (ended < 0 && errno != EINTR)
			return COMMAND_FAILED;
		if (ended != pid)
			continue;
		if (WIFSIGNALED(status))
			return 128 + WTERMSIG(status);
		return WEXITSTATUS(status);
	}
}

static int run_command(const struct layout *l, char **command)
{
	char *shell[] = { getenv("SHELL") ? getenv("SHELL") : (char *)"/bin/sh", NULL };
	char **argv = command ? command : shell;
	pid_t pid;

	set_environment(l);
	pid = fork();
	if (pid < 0)
		return COMMAND_FAILED;
	if (pid == 0) {
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		execvp(argv[0], argv);
		fprintf(stderr, "cairn dev: cannot run '%s': %s\n", argv[0], strerror(errno));
		_exit(errno == ENOENT ? 127 : 126);
	}
	command_pid = pid;
	if (was_interrupted)
		kill(pid, was_interrupted);
	return wait_for(pid);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = pass_on_signal };

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_COUNT(signals); i++)
		sigaction(signals[i], &sa, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);	/* processes restarted inside become ours to reap */
}

static int run_cluster(const struct dev_arguments *a, struct layout *l)
{
	struct error err = { 0 };
	int status, rc;

	rc = host_format(l, &err);
	if (rc == 0)
		rc = host_start_all(l, &err);
	status = rc < 0 ? command_fail(NAME, &err) : was_interrupted ? 128 + was_interrupted :
		 run_command(l, a->command);
	/* Servers may have joined inside. */
	layout_finish(l);
	if (layout_load(l, getenv("CAIRN_DIR") ? getenv("CAIRN_DIR") : l->dir, &err) < 0 ||
	    host_stop_all(l, &err) < 0) {
		fprintf(stderr, "cairn dev: %s\n", err.text);
		status = status ? status : COMMAND_FAILED;
	}
	return status;
}

int cmd_dev(int argc, char **argv)
{
	struct dev_arguments a = { 0 };
	struct layout l = { 0 };
	struct error err = { 0 };
	char dir[PATH_MAX];
	int status;

	if (argc == 3 && (strcmp(argv[1], "start") == 0 || strcmp(argv[1], "stop") == 0))
		return run_inside(argv[1], argv[2]);
	if (command_parse(&argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	if (choose_folder(&a, dir, &err) < 0)
		return command_fail(NAME, &err);
	catch_signals();
	setenv("CAIRN_DIR", dir, 1);
	if (plan(&a, dir, &l, &err) < 0)
		status = command_fail(NAME, &err);
	else
		status = run_cluster(&a, &l);
	layout_finish(&l);
	if (!a.dir && !a.keep && remove_tree(dir, &err) < 0)
		fprintf(stderr, "cairn dev: %s\n", err.text);
	return status;
}
