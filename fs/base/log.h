/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging: one line on stderr, "TIME level program.module message key=value ...", or the
 * system journal where the daemon runs under systemd. Each site is rate-limited (10 lines a
 * second) and says what it suppressed. Messages follow the house grammar: lower case, no
 * stop, failure first. Log where a code stops travelling, not at each level.
 *
 * Threads: any.
 */
#ifndef CAIRN_FS_BASE_LOG_H
#define CAIRN_FS_BASE_LOG_H

#include "fs/base/base.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_site {		/* one per call, static */
	uint64_t window_s;
	uint32_t count;
	uint32_t suppressed;
};

void log_init(const char *program, enum log_level level);
bool log_is_on(enum log_level level);
/* Parse "error", "warn", "info", "debug"; -E_INVAL otherwise. */
must_check int log_level_parse(const char *s, enum log_level *out);
void log_write(struct log_site *site, enum log_level level, const char *module,
	       const char *format, ...) printf_like(4, 5);

/* A source file names its module once: #define LOG_MODULE "store" before it logs. */
#define LOG_AT(level, ...)                                                                         \
	do {                                                                                       \
		static struct log_site log_site_here;                                              \
		if (log_is_on(level))                                                              \
			log_write(&log_site_here, (level), LOG_MODULE, __VA_ARGS__);               \
	} while (0)
#define log_error(...) LOG_AT(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  LOG_AT(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  LOG_AT(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) LOG_AT(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
