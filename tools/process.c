/* SPDX-License-Identifier: Apache-2.0 */
/* Processes by their pid files; /proc tells whether an id is still one of ours. */
#include "tools/process.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fs/base/text.h"

#define POLL_MS 5u

void process_sleep_ms(uint32_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

int process_program(const char *name, char *out, size_t out_bytes, struct error *err)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;
	static const char *const places[] = { "", "../sbin/", "../bin/" };

	if (len < 0)
		return error_set(err, error_from_errno(errno), "cannot find my own program");
	self[len] = '\0';
	slash = strrchr(self, '/');
	ASSERT(slash);
	slash[1] = '\0';
	for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
		int n = snprintf(out, out_bytes, "%s%s%s", self, places[i], name);

		if (n > 0 && (size_t)n < out_bytes && access(out, X_OK) == 0)
			return 0;
	}
	return error_set(err, -E_NOENT, "cannot find '%s' beside 'cairn'", name);
}

/* In the child: nothing here may fail in silence, so its words go to the log. */
static void child_exec(char *const argv[], const char *log_file)
{
	int null = open("/dev/null", O_RDWR);
	int log = open(log_file, O_WRONLY | O_CREAT | O_APPEND, 0640);
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
	}
	if (log >= 0)
		dup2(log, 2);
	for (int fd = 3; fd < 256; fd++)
		close(fd);
	execv(argv[0], argv);
	fprintf(stderr, "cairn: cannot run '%s': %s\n", argv[0], strerror(errno));
	_exit(127);
}

int process_start(char *const argv[], const char *pid_file, const char *log_file, pid_t *out,
		  struct error *err)
{
	FILE *f;
	pid_t pid = fork();

	if (pid < 0)
		return error_set(err, error_from_errno(errno), "cannot start '%s'", argv[0]);
	if (pid == 0)
		child_exec(argv, log_file);
	f = fopen(pid_file, "we");
	if (!f || fprintf(f, "%d\n", (int)pid) < 0 || fclose(f) != 0) {
		kill(pid, SIGKILL);
		return error_set(err, error_from_errno(errno), "cannot write '%s'", pid_file);
	}
	*out = pid;
	return 0;
}

/* Does the command line of the process name the folder of its pid file? In execve() it is empty. */
static bool names_folder(pid_t pid, const char *pid_file)
{
	char path[PATH_MAX], folder[PATH_MAX + 1], line[2 * PATH_MAX];
	size_t folder_len;
	ssize_t len;
	int fd;

	if (!text_copy(path, sizeof path, pid_file) || !realpath(dirname(path), folder))
		return false;
	folder_len = strlen(folder);
	folder[folder_len++] = '/';
	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, line, sizeof line);
	close(fd);
	return len == 0 || (len > 0 && memmem(line, (size_t)len, folder, folder_len) != NULL);
}

/*
 * A recycled id belongs to some other program, or to one of ours of another cluster; a zombie runs
 * none. Servers and mounts are told their folder; `cairn up` is the one program that need not be.
 */
static bool runs_our_program(pid_t pid, const char *pid_file)
{
	char path[64], exe[PATH_MAX];
	const char *name;
	ssize_t len;

	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	len = readlink(path, exe, sizeof exe - 1);
	if (len < 0)
		return false;
	exe[len] = '\0';
	name = strrchr(exe, '/');
	if (!name)
		return false;
	if (strcmp(name, "/cairn") == 0 || strcmp(name, "/cairn (deleted)") == 0)
		return true;
	return (strncmp(name, "/cairn-", 7) == 0 || strncmp(name, "/mount.cairn", 12) == 0) &&
	       names_folder(pid, pid_file);
}

/* The process of a pid file, whatever it is by now; 0: none. */
static pid_t read_pid(const char *pid_file)
{
	FILE *f = fopen(pid_file, "re");
	int pid = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%d", &pid) != 1)
		pid = 0;
	fclose(f);
	return pid > 0 && kill(pid, 0) == 0 ? pid : 0;
}

pid_t process_find(const char *pid_file)
{
	pid_t pid = read_pid(pid_file);

	return pid && runs_our_program(pid, pid_file) ? pid : 0;
}

struct proc_status {
	char state;
	int threads;
	bool is_killed;
};

static bool read_status(pid_t pid, struct proc_status *out)
{
	char path[64], line[256];
	unsigned long long pending;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	*out = (struct proc_status){ .state = '?' };
	while (fgets(line, sizeof line, f)) {
		(void)sscanf(line, "State: %c", &out->state);
		(void)sscanf(line, "Threads: %d", &out->threads);
		if (sscanf(line, "SigPnd: %llx", &pending) == 1 ||
		    sscanf(line, "ShdPnd: %llx", &pending) == 1)
			out->is_killed |= (pending & 1ull << (SIGKILL - 1)) != 0;
	}
	fclose(f);
	return true;
}

int process_await_death(const char *pid_file, uint32_t ms)
{
	for (uint32_t waited = 0;; waited += POLL_MS) {
		struct proc_status status;
		pid_t pid = read_pid(pid_file);

		if (!pid || !read_status(pid, &status) ||
		    (status.state == 'Z' && status.threads <= 1))
			return 0;
		/*
		 * A program that is ending has lost its memory, and with it the name of its
		 * program.
		 */
		if (runs_our_program(pid, pid_file) && !status.is_killed)
			return -E_BUSY;
		if (waited >= ms)
			return -E_TIMEDOUT;
		process_sleep_ms(POLL_MS);
	}
}

static bool wait_gone(const char *pid_file, uint32_t ms)
{
	for (uint32_t waited = 0; process_find(pid_file); waited += POLL_MS) {
		if (waited >= ms)
			return false;
		process_sleep_ms(POLL_MS);
	}
	return true;
}

/* Ours or another parent's: the id is to be gone when we return. */
static void reap(pid_t pid)
{
	for (uint32_t waited = 0; waited < 1000 && kill(pid, 0) == 0; waited += POLL_MS) {
		if (waitpid(pid, NULL, WNOHANG) != pid)
			process_sleep_ms(POLL_MS);
	}
}

int process_stop(const char *pid_file, uint32_t grace_ms, struct error *err)
{
	pid_t pid = process_find(pid_file);

	if (pid) {
		kill(pid, SIGTERM);
		kill(pid, SIGCONT);	/* a stopped one must hear it */
		if (!wait_gone(pid_file, grace_ms)) {
			kill(pid, SIGKILL);
			if (!wait_gone(pid_file, 5000))
				return error_say(err, -E_TIMEDOUT, "process %d does not end",
						 (int)pid);
		}
		reap(pid);
	}
	unlink(pid_file);
	return 0;
}

void process_log_tail(const char *log_file, char *out, size_t out_bytes)
{
	FILE *f = fopen(log_file, "re");
	bool is_cut;
	char *line;
	size_t len;

	out[0] = '\0';
	if (!f)
		return;
	is_cut = fseek(f, -(long)(out_bytes - 1), SEEK_END) == 0;
	if (!is_cut)
		rewind(f);
	len = fread(out, 1, out_bytes - 1, f);
	while (len > 0 && out[len - 1] == '\n')
		len--;
	out[len] = '\0';
	fclose(f);
	line = is_cut ? strchr(out, '\n') : NULL;
	if (line)
		memmove(out, line + 1, strlen(line));
	for (line = out; (line = strchr(line, '\n')); line++)
		*line = ';';
}
