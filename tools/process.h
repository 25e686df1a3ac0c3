/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server processes of one host: start one apart from the terminal with its log in a file, find it
 * again by its pid file, end it by its id. Never by name: other clusters run the same programs.
 */
#ifndef CAIRN_TOOLS_PROCESS_H
#define CAIRN_TOOLS_PROCESS_H

#include <sys/types.h>

#include "fs/base/base.h"

/*
 * Start argv[0] (a path) in a session of its own, stderr appended to log_file; its id goes to
 * pid_file.
 */
must_check int process_start(char *const argv[], const char *pid_file, const char *log_file,
			     pid_t *out, struct error *err);
/* The process of a pid file that still runs a program of ours, of the file's folder, or 0. */
pid_t process_find(const char *pid_file);
/*
 * One that was killed a moment ago still holds its port and its locks: wait until it is gone. 0:
 * nothing of it is left; -E_BUSY: it runs and is not dying; -E_TIMEDOUT.
 */
must_check int process_await_death(const char *pid_file, uint32_t ms);
/*
 * SIGTERM, SIGKILL after grace_ms, wait until it is gone, remove the pid file. 0 also if it was
 * gone.
 */
must_check int process_stop(const char *pid_file, uint32_t grace_ms, struct error *err);
/* Path of a program beside this one ("cairn-mds"). -E_NOENT if it is not there. */
must_check int process_program(const char *name, char *out, size_t out_bytes, struct error *err);
/* The last lines of a log, for an error message: at most out_bytes - 1. */
void process_log_tail(const char *log_file, char *out, size_t out_bytes);
void process_sleep_ms(uint32_t ms);

#endif
