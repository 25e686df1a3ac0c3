/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to stderr, or to the system journal where stderr is connected to it. One write per
 * line, so that lines of several threads never mix.
 */
#include "fs/base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#endif

#include "fs/base/text.h"

#define LINE_BYTES_MAX	1024
#define LINES_PER_S_MAX 10u	/* of one site */

static struct {
	char program[32];
	enum log_level level;
	bool to_journal;
} state = {.program = "cairn", .level = LOG_LEVEL_INFO};

static pthread_mutex_t site_mutex = PTHREAD_MUTEX_INITIALIZER;

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

/*
 * systemd puts "device:inode" of the journal's socket into JOURNAL_STREAM; a redirected stderr
 * differs.
 */
static bool stderr_is_journal(void)
{
#ifdef HAVE_SYSTEMD
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
#else
	return false;
#endif
}

void log_init(const char *program, enum log_level level)
{
	text_copy(state.program, sizeof(state.program), program);
	state.level = level;
	state.to_journal = stderr_is_journal();
}

bool log_is_on(enum log_level level)
{
	return level <= state.level;
}

int log_level_parse(const char *s, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_COUNT(level_names); i++) {
		if (strcmp(s, level_names[i]) != 0)
			continue;
		*out = (enum log_level)i;
		return 0;
	}
	return -E_INVAL;
}

/* May this site speak? *suppressed is then what it kept back before. */
static bool site_may_log(struct log_site *site, uint32_t *suppressed)
{
	struct timespec ts;
	bool may;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	pthread_mutex_lock(&site_mutex);
	if (site->window_s != (uint64_t)ts.tv_sec) {
		site->window_s = (uint64_t)ts.tv_sec;
		site->count = 0;
	}
	may = site->count < LINES_PER_S_MAX;
	if (may) {
		site->count++;
		*suppressed = site->suppressed;
		site->suppressed = 0;
	} else {
		site->suppressed++;
	}
	pthread_mutex_unlock(&site_mutex);
	return may;
}

static void write_journal(enum log_level level, const char *module, const char *message)
{
#ifdef HAVE_SYSTEMD
	static const int priorities[] = {3, 4, 6, 7}; /* syslog(3) */

	sd_journal_send("PRIORITY=%d", priorities[level], "SYSLOG_IDENTIFIER=%s", state.program,
			"CAIRN_MODULE=%s", module, "MESSAGE=%s: %s", module, message, NULL);
#else
	(void)level, (void)module, (void)message;
#endif
}

static void write_stderr(enum log_level level, const char *module, const char *message)
{
	char line[LINE_BYTES_MAX + 128];
	char when[32];
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	int len = snprintf(line, sizeof(line), "%s.%03ldZ %s %s.%s %s", when, ts.tv_nsec / 1000000,
			   level_names[level], state.program, module, message);
	size_t bytes = MIN_OF((size_t)len, sizeof(line) - 1);
	line[bytes++] = '\n'; /* over the terminator */
	ssize_t written = write(STDERR_FILENO, line, bytes);
	(void)written; /* nowhere to complain */
}

void log_write(struct log_site *site, enum log_level level, const char *module,
	       const char *format, ...)
{
	char message[LINE_BYTES_MAX];
	uint32_t suppressed;
	va_list args;

	if (!site_may_log(site, &suppressed))
		return;
	va_start(args, format);
	int len = vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (suppressed && len >= 0 && (size_t)len < sizeof(message))
		snprintf(message + len, sizeof(message) - (size_t)len, " suppressed=%" PRIu32,
			 suppressed);
	if (state.to_journal)
		write_journal(level, module, message);
	else
		write_stderr(level, module, message);
}
