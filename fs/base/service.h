/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon tells its supervisor: that it serves (sd_notify where systemd started it), its
 * process id and its real address in files, both replaced whole so that a reader never sees half of
 * one.
 *
 * Threads: the main one.
 */
#ifndef CAIRN_FS_BASE_SERVICE_H
#define CAIRN_FS_BASE_SERVICE_H

#include "fs/base/base.h"

/* Write "TEXT\n" to the file. path NULL or empty: nothing to do. */
must_check int service_write_file(const char *path, const char *text, struct error *err);
/* The process id. Remove it at the end by service_remove_file(). */
must_check int service_write_pid(const char *path, struct error *err);
void service_remove_file(const char *path);	/* NULL, empty or absent is allowed */

void service_ready(const char *address);	/* "READY=1" */
void service_stopping(void);			/* "STOPPING=1" */

#endif
