/* SPDX-License-Identifier: Apache-2.0 */
/* Files, supervisor and signals around a running loop. */
#include "fs/io/daemon.h"

#include "fs/base/log.h"
#include "fs/base/service.h"

#define LOG_MODULE "daemon"

static void on_signal(void *arg, int signo)
{
	struct daemon *d = arg;

	if (d->is_stopping)
		return;
	d->is_stopping = true;
	log_info("stopping signal=%d", signo);
	service_stopping();
	d->stop(d->arg);
}

int daemon_serve(struct daemon *d, struct error *err)
{
	int rc = loop_uv_on_signals(d->loop, on_signal, d);

	if (rc < 0)
		return error_set(err, rc, "cannot handle signals");
	rc = service_write_pid(d->pid_file, err);
	if (rc >= 0)
		rc = service_write_file(d->port_file, d->address, err);
	if (rc < 0)
		return rc;
	log_info("serving address=%s dir=%s", d->address, d->directory);
	service_ready(d->address);
	loop_uv_run(d->loop);
	service_remove_file(d->port_file);
	service_remove_file(d->pid_file);
	return 0;
}
