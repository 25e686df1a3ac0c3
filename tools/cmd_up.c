/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cairn up, cairn down: the whole file system on this one host, from nothing. `up` leaves a
 * supervisor in the background that restarts what dies; `down` ends it, and with it the mount and
 * all servers. Data stays.
 */
#include "tools/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/base/text.h"
#include "tools/host.h"
#include "tools/process.h"
#include "tools/status.h"

#define UP_MOUNT_DEFAULT "/models"
#define SUPERVISE_MS	 500u
#define DOWN_MS_MAX	 90000u
#define SETTLE_MS	 8000u
#define SETTLE_POLL_MS	 200u

struct up_arguments {
	uint32_t servers, copies;
	const char *disks[LAYOUT_SERVERS_MAX];
	uint32_t disk_count;
	const char *mount, *dir, *address;
	bool with_acl;
	enum hash_kind hash; /* 0: not given */
};

static const struct argp_option options[] = {
	{"servers", 'n', "N", 0, "chunk servers (3)", 0},
	{"copies", 'c', "N", 0, "copies of each block (3, at most the servers)", 0},
	{"acl", 'A', NULL, 0, "a file system with POSIX ACLs", 0},
	{"hash", 'H', "NAME", 0, "block names: sha256 (default) or sha3-256", 0},
	{"disk", 'd', "DIR", 0, "a folder for data, one per disk; servers are spread over them", 0},
	{"mount", 'm', "DIR", 0, "where to mount (" UP_MOUNT_DEFAULT ")", 0},
	{"dir", 'D', "DIR", 0, "the cluster's own folder (" LAYOUT_UP_DIR ")", 0},
	{"address", 'a', "HOST", 0,
	 "listen on this address of the host, so that others can join (127.0.0.1)", 0},
	{0},
};

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct up_arguments *a = state->input;
	uint64_t n = 0;

	if ((key == 'n' || key == 'c') && (text_parse_u64(text, &n) < 0 || n < 1 ||
					   n > (key == 'n' ? LAYOUT_SERVERS_MAX : COPIES_MAX)))
		argp_error(state, "bad number '%s': wants 1 to %u", text,
			   key == 'n' ? LAYOUT_SERVERS_MAX : COPIES_MAX);
	switch (key) {
	case 'n': a->servers = (uint32_t)n; break;
	case 'c': a->copies = (uint32_t)n; break;
	case 'd':
		if (a->disk_count == LAYOUT_SERVERS_MAX)
			argp_error(state, "at most %u disks", LAYOUT_SERVERS_MAX);
		a->disks[a->disk_count++] = text;
		break;
	case 'm': a->mount = text; break;
	case 'D': a->dir = text; break;
	case 'a': a->address = text; break;
	case 'A': a->with_acl = true; break;
	case 'H':
		if (block_id_hash_parse(text, &a->hash) < 0)
			argp_error(state, "unknown hash '%s': wants sha256 or sha3-256", text);
		break;
	case ARGP_KEY_ARG: argp_error(state, "unexpected argument '%s'", text); break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp up_argp = {options,
				    parse_option,
				    "",
				    "Start a whole cairn file system on this host and mount it. "
				    "The first time it is formatted; later starts "
				    "find the data again.\vSee cairn-up(8) for what copies on one "
				    "disk protect from, and how to join hosts.",
				    NULL,
				    NULL,
				    NULL};

/* --- planning --------------------------------------------------------------------------------- */

static int make_folder(const char *path, char out[PATH_MAX], struct error *err)
{
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return error_set(err, error_from_errno(errno), "cannot create '%s'", path);
	if (!realpath(path, out))
		return error_set(err, error_from_errno(errno), "cannot use '%s'", path);
	return 0;
}

/* Servers go round the given disks, each with a folder of its own. */
static int place_on_disks(const struct up_arguments *a, struct layout *l, struct error *err)
{
	char disk[PATH_MAX];

	for (uint32_t i = 0; a->disk_count && i < l->server_count; i++) {
		int rc = make_folder(a->disks[i % a->disk_count], disk, err);

		if (rc < 0)
			return rc;
		if (snprintf(l->cs_dirs[i], PATH_MAX, "%.*s/cairn-cs%u", PATH_MAX - 32, disk,
			     i + 1) < 0)
			return error_set(err, -E_INVAL, "cannot use '%s'", disk);
	}
	return 0;
}

static bool is_mounted_on(const struct layout *l, const char *path)
{
	char real[PATH_MAX];

	return realpath(path, real) && strcmp(real, l->mount_dirs[0]) == 0;
}

static int plan(const struct up_arguments *a, struct layout *l, struct error *err)
{
	uint32_t servers = a->servers ? a->servers : 3;
	uint32_t copies = a->copies ? a->copies : MIN_OF(3u, servers);
	char dir[PATH_MAX], pid_file[PATH_MAX];
	int rc = make_folder(a->dir, dir, err);

	if (rc < 0)
		return rc;
	rc = layout_load(l, dir, err);
	if (rc == 0) {
		if ((a->servers && a->servers != l->server_count) ||
		    (a->copies && a->copies != l->copies) || a->disk_count ||
		    (a->with_acl && !l->with_acl) || (a->hash && a->hash != l->hash) ||
		    (a->address && strcmp(a->address, l->address) != 0))
			return error_say(err, -E_EXIST,
					 "'%s' holds a cluster already (%u servers, %u copies): "
					 "start it without --servers, --copies, --acl, --hash, "
					 "--disk, --address",
					 dir, l->server_count, l->copies);
	} else if (rc == -E_NOENT) {
		if (copies > servers)
			return error_say(err, -E_INVAL,
					 "%u copies need at least as many servers, not %u", copies,
					 servers);
		rc = layout_plan(l,
				 &(struct layout_options){.dir = dir,
							  .address = a->address,
							  .port = 7800,
							  .servers = servers,
							  .copies = copies,
							  .mounts = 1,
							  .with_acl = a->with_acl,
							  .hash = a->hash},
				 err);
		if (rc == 0)
			rc = place_on_disks(a, l, err);
	}
	if (rc < 0)
		return rc;
	if (a->mount && process_find(layout_path(l, pid_file, "up", ".pid")) &&
	    !is_mounted_on(l, a->mount))
		return error_say(err, -E_BUSY, "'%s' is up, and mounted on '%s': cairn down first",
				 dir, l->mount_dirs[0]);
	if (a->mount || !l->mount_dirs[0][0] || strstr(l->mount_dirs[0], "/mnt1")) {
		rc = make_folder(a->mount ? a->mount : UP_MOUNT_DEFAULT, l->mount_dirs[0], err);
		if (rc < 0)
			return rc;
	}
	rc = host_may_mount(l, 0, err);
	return rc < 0 ? rc : layout_save(l, err);
}

/* --- the supervisor --------------------------------------------------------------------------- */

static volatile sig_atomic_t must_end;

static void on_end(int signo)
{
	must_end = signo;
}

/*
 * A process that left in good order, as a mount does when a user unmounts it, is not to come back.
 */
static void note_exit(const struct layout *l, const char *name, pid_t pid, int status)
{
	char path[PATH_MAX];
	FILE *f = fopen(layout_path(l, path, name, ".pid"), "re");
	int of_file = 0;

	if (!f)
		return;
	if (fscanf(f, "%d", &of_file) == 1 && of_file == pid && WIFEXITED(status) &&
	    WEXITSTATUS(status) == 0) {
		unlink(path);
		fprintf(stderr, "cairn up: '%s' was ended; it stays so until the next cairn up\n",
			name);
	}
	fclose(f);
}

/* fn for each process by name. */
static void each_process(const struct layout *l,
			 void (*fn)(const struct layout *l, const char *name, void *arg), void *arg)
{
	char name[32];

	fn(l, "mds", arg);
	for (uint32_t i = 0; i < l->server_count; i++) {
		snprintf(name, sizeof name, "cs%u", i + 1);
		fn(l, name, arg);
	}
	for (uint32_t i = 0; i < l->mount_count; i++) {
		snprintf(name, sizeof name, "client%u", i + 1);
		fn(l, name, arg);
	}
}

struct ended {
	pid_t pid;
	int status;
};

static void note_exit_of(const struct layout *l, const char *name, void *arg)
{
	const struct ended *ended = arg;

	note_exit(l, name, ended->pid, ended->status);
}

static void restart_dead(const struct layout *l, const char *name, void *arg)
{
	struct error err = { 0 };
	char pid_file[PATH_MAX];

	(void)arg;
	if (must_end || host_runs(l, name) ||
	    access(layout_path(l, pid_file, name, ".pid"), F_OK) != 0)
		return;
	fprintf(stderr, "cairn up: '%s' died; starting it again\n", name);
	if (host_start(l, name, &err) < 0)
		fprintf(stderr, "cairn up: %s\n", err.text);
}

static void supervise(const struct layout *l)
{
	struct ended ended;

	while (!must_end) {
		while ((ended.pid = waitpid(-1, &ended.status, WNOHANG)) > 0)
			each_process(l, note_exit_of, &ended);
		each_process(l, restart_dead, NULL);
		process_sleep_ms(SUPERVISE_MS);
	}
}

static int supervisor(const struct layout *l, int tell)
{
	struct error err = { 0 };
	struct sigaction sa = { .sa_handler = on_end };
	char pid_file[PATH_MAX];

	setsid();
	sigemptyset(&sa.sa_mask);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if (host_start_all(l, &err) < 0) {
		dprintf(tell, "%s", err.text);
		if (host_stop_all(l, &err) < 0)
			fprintf(stderr, "cairn up: %s\n", err.text);
		return COMMAND_FAILED;
	}
	dprintf(tell, "up");
	close(tell);
	supervise(l);
	if (host_stop_all(l, &err) < 0)
		fprintf(stderr, "cairn up: %s\n", err.text);
	unlink(layout_path(l, pid_file, "up", ".pid"));
	return COMMAND_DONE;
}

/* Its own words go to up.log. */
static void detach(const struct layout *l)
{
	char path[PATH_MAX];
	int null = open("/dev/null", O_RDWR);
	int log = open(layout_path(l, path, "up", ".log"),
		       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	if (log >= 0)
		dup2(log, 2);
}

static int start_supervisor(const struct layout *l, struct error *err)
{
	char said[ERROR_TEXT_BYTES + 1] = "", pid_file[PATH_MAX];
	size_t len = 0;
	ssize_t n;
	int fds[2];
	pid_t pid;
	FILE *f;

	if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0)
		return error_set(err, error_from_errno(errno), "cannot start the supervisor");
	if (pid == 0) {
		close(fds[0]);
		detach(l);
		_exit(supervisor(l, fds[1]));
	}
	close(fds[1]);
	f = fopen(layout_path(l, pid_file, "up", ".pid"), "we");
	if (f) {
		fprintf(f, "%d\n", (int)pid);
		fclose(f);
	}
	while (len < sizeof said - 1 && (n = read(fds[0], said + len, sizeof said - 1 - len)) > 0)
		len += (size_t)n;
	close(fds[0]);
	said[len] = '\0';
	if (strcmp(said, "up") == 0)
		return 0;
	unlink(pid_file);
	return error_say(err, -E_IO, "%s", len ? said : "the supervisor died; see up.log");
}

/* Copies on one disk: say what they are worth. */
static void print_advice(const struct layout *l, uint32_t disk_count)
{
	printf("\n%u copies on %s. They protect from a rotten block and a crashed process%s\n",
	       l->copies, disk_count > 1 ? "several disks of this host" : "one disk of this host",
	       disk_count > 1
		       ? ",\nand from the loss of a disk, not from the loss of this host."
		       : ";\nthey do not protect from the loss of that disk or of this host.");
	if (strcmp(l->address, LAYOUT_ADDRESS_ALONE) == 0)
		printf("Other hosts cannot join: a new cluster with `cairn up --address HOST` lets "
		       "them.\n");
	else
		printf("A second host joins with: mkfs.cairn --join %s:%u --disk DIR,\n"
		       "cairn-cs --cs-dirs DIR --cluster-mds %s:%u, mount -t cairn %s:%u:/ "
		       "/models\n",
		       l->address, l->mds_port, l->address, l->mds_port, l->address, l->mds_port);
	printf("`cairn down` stops all; data stays in '%s'.\n", l->dir);
}

/*
 * Servers have just come back: whether anything is owed to them is known a beat or two later. A
 * cluster that is really not well says so after SETTLE_MS.
 */
static void wait_settled(void)
{
	bool is_settled = false;

	for (uint32_t ms = 0; !is_settled && ms < SETTLE_MS; ms += SETTLE_POLL_MS) {
		struct error err = { 0 };
		struct status s;

		if (status_get(NULL, &s, &err) == 0) {
			is_settled = s.is_healthy;
			status_finish(&s);
		}
		if (!is_settled)
			(void)usleep(SETTLE_POLL_MS * 1000);
	}
}

int cmd_up(int argc, char **argv)
{
	struct up_arguments a = { .dir = LAYOUT_UP_DIR };
	struct layout l = { 0 };
	struct error err = { 0 };
	char pid_file[PATH_MAX];
	char *status_argv[] = { (char *)"cairn status", NULL };
	int rc;

	if (command_parse(&up_argp, argc, argv, &a) != 0)
		return COMMAND_USAGE;
	rc = plan(&a, &l, &err);
	if (rc == 0 && process_find(layout_path(&l, pid_file, "up", ".pid"))) {
		rc = host_start_all(&l, &err);	/* what was ended meanwhile */
		printf("cairn was up already\n");
	} else {
		if (rc == 0)
			rc = host_format(&l, &err);
		if (rc == 0)
			rc = start_supervisor(&l, &err);
	}
	if (rc < 0) {
		layout_finish(&l);
		return command_fail("up", &err);
	}
	printf("mounted on %s\n\n", l.mount_dirs[0]);
	fflush(stdout);
	setenv("CAIRN_DIR", l.dir, 1);
	wait_settled();
	(void)cmd_status(1, status_argv);
	print_advice(&l, a.disk_count);
	layout_finish(&l);
	return COMMAND_DONE;
}

/* --- down ------------------------------------------------------------------------------------- */

static const struct argp_option down_options[] = {
	{ "dir", 'D', "DIR", 0, "the cluster's own folder (" LAYOUT_UP_DIR ")", 0 },
	{ 0 },
};

static error_t parse_down(int key, char *text, struct argp_state *state)
{
	if (key == 'D')
		*(const char **)state->input = text;
	else if (key == ARGP_KEY_ARG)
		argp_error(state, "unexpected argument '%s'", text);
	else
		return ARGP_ERR_UNKNOWN;
	return 0;
}

static const struct argp down_argp = {
	down_options, parse_down, "",  "Unmount and stop what `cairn up` started. Data stays.",
	NULL,	      NULL,	  NULL};

int cmd_down(int argc, char **argv)
{
	const char *dir = LAYOUT_UP_DIR;
	struct layout l = { 0 };
	struct error err = { 0 };
	char pid_file[PATH_MAX];
	int rc;

	if (command_parse(&down_argp, argc, argv, &dir) != 0)
		return COMMAND_USAGE;
	rc = layout_load(&l, dir, &err);
	if (rc == 0)
		rc = process_stop(layout_path(&l, pid_file, "up", ".pid"), DOWN_MS_MAX, &err);
	if (rc == 0)
		rc = host_stop_all(&l, &err);	/* what a killed supervisor left */
	if (rc == 0)
		printf("cairn is down; data stays in '%s'\n", l.dir);
	layout_finish(&l);
	return rc < 0 ? command_fail("down", &err) : COMMAND_DONE;
}
