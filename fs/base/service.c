/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to the supervisor. The only file that sees libsystemd, which is optional at build.
 */
#include "fs/base/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#define PATH_BYTES 4096u

static int write_whole(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	size_t len = strlen(text);
	ssize_t n;
	int rc = 0;

	if (fd < 0)
		return error_from_errno(errno);
	n = write(fd, text, len);
	if (n != (ssize_t)len)
		rc = n < 0 ? error_from_errno(errno) : -E_NOSPC;
	if (close(fd) < 0 && rc == 0)
		rc = error_from_errno(errno);
	return rc;
}

int service_write_file(const char *path, const char *text, struct error *err)
{
	char temporary[PATH_BYTES], line[PATH_BYTES];
	int rc;

	if (!path || !*path)
		return 0;
	if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary) ||
	    snprintf(line, sizeof(line), "%s\n", text) >= (int)sizeof(line))
		return error_set(err, -E_NAMETOOLONG, "cannot write '%s'", path);
	rc = write_whole(temporary, line);
	if (rc >= 0 && rename(temporary, path) < 0)
		rc = error_from_errno(errno);
	return rc < 0 ? error_set(err, rc, "cannot write '%s'", path) : 0;
}

int service_write_pid(const char *path, struct error *err)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%ld", (long)getpid());
	return service_write_file(path, text, err);
}

void service_remove_file(const char *path)
{
	if (path && *path)
		/* a stale file is harmless: its reader checks the process */
		(void)unlink(path);
}

#ifdef HAVE_SYSTEMD
void service_ready(const char *address)
{
	(void)sd_notifyf(0, "READY=1\nSTATUS=serving at %s", address);	/* nobody listens: fine */
}

void service_stopping(void)
{
	(void)sd_notify(0, "STOPPING=1");
}
#else
void service_ready(const char *address)
{
	(void)address;
}

void service_stopping(void)
{
}
#endif
