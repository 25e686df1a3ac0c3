/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of a mount: parse, go to the background, connect, mount, say so to the parent, serve,
 * then publish what is dirty and leave. The parent of a background mount returns only when the
 * mount is usable, or prints why it is not.
 *
 * Threads: one runs the event loop, which reads the kernel's requests and has the client on it;
 * main waits for its end.
 */
#include "client/fuse/program.h"
#include "client/fuse/dead_mount.h"
#include "client/fuse/front.h"
#include "client/fuse/mount_options.h"
#include "client/fuse/remount.h"
#include "client/fuse/tier_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/base/log.h"
#include "fs/base/text.h"
#include "fs/codec/codec.h"
#include "fs/io/mounts.h"

#define LOG_MODULE "mount"
/* Pooled buffers beyond the client's own bound: frames on their way in and out. */
#define POOL_SLACK_BYTES MiB(64)
/*
 * umount(8) returns while the process behind it still ends: the next mount waits for that, as long
 * as tiers may take (tier_setup.c). For one that stays mounted it waits a moment only.
 */
#define LOCK_LIVE_MS  2000u
#define LOCK_END_MS   75000u
#define LOCK_RETRY_MS 50u

struct mount {
	struct mount_options options;
	/* in the cache folder */
	char session_file[PATH_MAX + 16], pins_file[PATH_MAX + 16], predictor_file[PATH_MAX + 16];
	int cache_fd, mounted_fd;	/* that folder, and "mounted" in it; see lock_cache() */
	char node[256];
	struct loop *loop;
	struct buf_pool *pool;
	struct net *net;
	struct front *front;
	struct tier_setup *tiers;
	struct client *client;
	pthread_t loop_thread;
	bool loop_runs;

	struct loop_task task;		/* start or stop of the client, on the loop */
	sem_t task_done;
	struct error task_error;
};

/* --- on the loop ------------------------------------------------------------------------------ */

static void start_done(void *arg, int rc, const char *why)
{
	struct mount *m = arg;

	if (rc < 0)
		(void)error_say(&m->task_error, rc, "cannot mount '%s': %s", m->options.source,
				why && *why ? why : error_text(rc));
	sem_post(&m->task_done);
}

static void start_on_loop(struct loop_task *task)
{
	struct mount *m = container_of(task, struct mount, task);

	tier_setup_start(m->tiers);
	client_start(m->client, start_done, m);
}

static void tiers_stopped(void *arg)
{
	struct mount *m = arg;

	sem_post(&m->task_done);
}

static void stop_done(void *arg, int rc)
{
	struct mount *m = arg;

	m->task_error.code = rc;
	tier_setup_stop(m->tiers, tiers_stopped, m);
}

static void stop_on_loop(struct loop_task *task)
{
	struct mount *m = container_of(task, struct mount, task);

	client_stop(m->client, stop_done, m);
}

static void run_on_loop(struct mount *m, void (*run)(struct loop_task *))
{
	m->task_error = (struct error){ 0 };
	m->task.run = run;
	loop_post(m->loop, &m->task);
	while (sem_wait(&m->task_done) != 0 && errno == EINTR)
		;
}

static void on_signal(void *arg, int signo)
{
	struct mount *m = arg;

	if (signo == SIGHUP)
		return;
	log_info("unmounting '%s' (signal %d)", m->options.mountpoint, signo);
	front_stop(m->front);
}

static void *loop_main(void *arg)
{
	struct mount *m = arg;

	loop_uv_run(m->loop);
	return NULL;
}

/* --- building up and taking down -------------------------------------------------------------- */

static int create_client(struct mount *m, struct error *err)
{
	struct cl_options o = { 0 };
	enum codec_aim aim;
	const struct config *config = &m->options.config;
	int rc = codec_aim_parse(config->client_codec, &aim);

	if (rc < 0)
		return error_say(err, rc, "unknown codec '%s'", config->client_codec);
	snprintf(m->session_file, sizeof m->session_file, "%s/session", config->client_cache_dir);
	snprintf(m->pins_file, sizeof m->pins_file, "%s/pins", config->client_cache_dir);
	snprintf(m->predictor_file, sizeof m->predictor_file, "%s/predictor",
		 config->client_cache_dir);
	if (gethostname(m->node, sizeof m->node - 1) != 0)
		(void)text_copy(m->node, sizeof m->node, "node");
	o.loop = m->loop;
	o.net = m->net;
	o.pool = m->pool;
	o.mds_address = m->options.mds_address;
	o.node_name = m->node;
	o.session_file = m->session_file;
	o.timeout_ms = (uint32_t)config->client_timeout_ms;
	o.is_hard = m->options.is_hard;
	o.memory_bytes = config->client_memory_bytes;
	o.flush_ms = (uint32_t)config->client_flush_ms;
	o.seal_ms = (uint32_t)config->client_seal_ms;
	o.seal_min_bytes = config->client_seal_min_bytes;
	o.blocks_in_flight = (uint32_t)config->client_blocks_in_flight;
	o.codec = (int)aim;
	front_client_options(m->front, &o);
	o.tiers = tier_setup_tiers(m->tiers);
	o.tier_min_bytes = config->client_tier_min_bytes;
	o.pins_file = m->pins_file;
	o.predicts = config->client_predict;
	o.predictor_file = m->predictor_file;
	o.predict_bytes_per_hour = config->client_predict_bytes_per_hour;
	o.predict_bytes_per_s = config->client_predict_bytes_per_s;
	o.predict_idle_ms = (uint32_t)config->client_predict_idle_ms;
	rc = client_create(&o, &m->client);
	if (rc < 0)
		return error_set(err, rc, "cannot start the client");
	front_set_client(m->front, m->client);
	return 0;
}

static int create_tiers(struct mount *m, struct error *err)
{
	struct tiers_options base = { .loop = m->loop };

	return tier_setup_create(&m->options.config, &base, &m->tiers, err);
}

static int create_front(struct mount *m)
{
	struct front_options o = {
		.source = m->options.source,
		.mountpoint = m->options.mountpoint,
		.kernel_options = m->options.kernel_options,
		.read_ahead_kb = (uint32_t)m->options.config.client_read_ahead_kb,
		.loop = m->loop,
		.wants_passthrough = m->options.config.client_passthrough,
		.has_node_locks = strcmp(m->options.config.client_locks, "node") == 0,
	};

	return front_create(&o, &m->front);
}

static int mkdir_parents(const char *path)
{
	char copy[PATH_MAX];

	if (!text_copy(copy, sizeof copy, path))
		return -E_NAMETOOLONG;
	for (char *s = copy + 1;; s++) {
		if (*s != '/' && *s != '\0')
			continue;
		char was = *s;

		*s = '\0';
		if (mkdir(copy, 0700) != 0 && errno != EEXIST)
			return error_from_errno(errno);
		*s = was;
		if (was == '\0')
			return 0;
	}
}

static int lock_wait(int fd, unsigned ms)
{
	for (unsigned waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited += LOCK_RETRY_MS) {
		if (errno != EWOULDBLOCK)
			return error_from_errno(errno);
		if (waited >= ms)
			return -E_BUSY;
		(void)usleep(LOCK_RETRY_MS * 1000);
	}
	return 0;
}

/*
 * Two mounts with one session would end each other: a cache folder has one mount. One that is
 * mounted has both locks; one that was unmounted only that of the folder, until it has ended.
 */
static int lock_cache(struct mount *m, struct error *err)
{
	const char *dir = m->options.config.client_cache_dir;
	int rc = mkdir_parents(dir);

	if (rc < 0)
		return error_set(err, rc, "cannot create the cache folder '%s'", dir);
	m->cache_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->cache_fd >= 0)
		m->mounted_fd = openat(m->cache_fd, "mounted", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	rc = m->mounted_fd < 0 ? error_from_errno(errno) : lock_wait(m->mounted_fd, LOCK_LIVE_MS);
	if (rc == -E_BUSY)
		return error_say(err, rc, "another mount uses the cache folder '%s'; give this one "
					  "its own by -o cache=DIR",
				 dir);
	if (rc == 0)
		rc = lock_wait(m->cache_fd, LOCK_END_MS);
	return rc < 0 ? error_set(err, rc, "cannot lock the cache folder '%s'", dir) : 0;
}

static int build(struct mount *m, struct error *err)
{
	int rc = lock_cache(m, err);

	if (rc < 0)
		return rc;
	rc = loop_uv_create((unsigned)m->options.config.client_workers, &m->loop);
	if (rc < 0)
		return error_set(err, rc, "cannot start the event loop");
	m->pool = buf_pool_create(m->options.config.client_memory_bytes + POOL_SLACK_BYTES);
	rc = m->pool ? net_uv_create(m->loop, m->pool, m->options.config.cluster_transport,
				     &m->net) :
		       -E_NOMEM;
	if (rc == 0)
		rc = create_front(m);
	if (rc < 0)
		return error_set(err, rc, "cannot start");
	rc = create_tiers(m, err);
	if (rc == 0)
		rc = create_client(m, err);
	if (rc < 0)
		return rc;
	rc = loop_uv_on_signals(m->loop, on_signal, m);
	if (rc < 0)
		return error_set(err, rc, "cannot handle signals");
	if (pthread_create(&m->loop_thread, NULL, loop_main, m) != 0)
		return error_set(err, -E_NOMEM, "cannot start the loop thread");
	m->loop_runs = true;
	return 0;
}

static void take_down(struct mount *m)
{
	if (m->loop_runs) {
		loop_uv_stop(m->loop);
		pthread_join(m->loop_thread, NULL);
	}
	client_destroy(m->client);
	front_destroy(m->front);	/* what is open by passthrough refers to the tiers */
	tier_setup_destroy(m->tiers);
	if (m->net)
		m->net->ops->destroy(m->net);
	if (m->loop)
		loop_uv_destroy(m->loop);
	if (m->pool)
		buf_pool_destroy(m->pool);
	if (m->mounted_fd >= 0)
		close(m->mounted_fd);
	if (m->cache_fd >= 0)
		close(m->cache_fd);
	sem_destroy(&m->task_done);
}

/* --- telling the parent ----------------------------------------------------------------------- */

/* An empty message means mounted. */
static void tell_parent(int fd, const char *sentence)
{
	if (fd < 0)
		return;
	if (write(fd, sentence, strlen(sentence)) < 0)
		log_warn("cannot tell the parent process: %s", strerror(errno));
	close(fd);
}

static int wait_for_child(int fd)
{
	char sentence[ERROR_TEXT_BYTES + 64];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof sentence - 1 &&
	       (n = read(fd, sentence + len, sizeof sentence - 1 - len)) > 0)
		len += (size_t)n;
	sentence[len] = '\0';
	if (strcmp(sentence, "mounted") == 0)
		return PROGRAM_DONE;
	fprintf(stderr, "mount.cairn: %s\n",
		len ? sentence : "the mount process died; see its log");
	return PROGRAM_FAILED;
}

static void detach_stdio(const struct mount_options *o)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log;

	char dir[PATH_MAX];
	if (text_copy(dir, sizeof dir, o->log_file) && strrchr(dir, '/')) {
		*strrchr(dir, '/') = '\0';
		if (dir[0])
			(void)mkdir_parents(dir);	/* without it the log goes nowhere */
	}
	log = open(o->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (null >= 0) {
		dup2(null, 0);
		dup2(null, 1);
		dup2(log >= 0 ? log : null, 2);
	}
	if (log > 2)
		close(log);
	if (null > 2)
		close(null);
}

static int write_pid_file(const char *path)
{
	FILE *f;

	if (!path[0])
		return 0;
	f = fopen(path, "we");
	if (!f)
		return error_from_errno(errno);
	fprintf(f, "%d\n", (int)getpid());
	return fclose(f) == 0 ? 0 : error_from_errno(errno);
}

/* --- the mount process ------------------------------------------------------------------------ */

static int bring_up(struct mount *m, struct error *err)
{
	int rc = build(m, err);

	if (rc < 0)
		return rc;
	run_on_loop(m, start_on_loop);
	if (m->task_error.code < 0) {
		*err = m->task_error;
		return err->code;
	}
	dead_mount_detach(m->options.mountpoint);
	/* It would cover that one, and the first of them to end would unmount the other. */
	if (mounts_has_cairn(m->options.mountpoint, NULL))
		return error_say(err, -E_BUSY,
				 "cannot mount on '%s': a mount of cairn is there already; unmount "
				 "it first",
				 m->options.mountpoint);
	rc = front_mount(m->front, err);
	if (rc < 0)
		return rc;
	rc = write_pid_file(m->options.pid_file);
	if (rc < 0)
		return error_set(err, rc, "cannot write '%s'", m->options.pid_file);
	return 0;
}

static int serve(struct mount *m)
{
	int rc = front_serve(m->front), stopped;

	close(m->mounted_fd);
	m->mounted_fd = -1;
	run_on_loop(m, stop_on_loop);
	stopped = m->task_error.code;
	if (stopped < 0)
		log_error("cannot publish all that was written: %s", error_text(stopped));
	if (m->options.pid_file[0])
		unlink(m->options.pid_file);
	return rc < 0 || stopped < 0 ? PROGRAM_FAILED : PROGRAM_DONE;
}

static enum log_level log_level_of(const struct mount_options *o)
{
	enum log_level level = LOG_LEVEL_INFO;

	if (o->is_verbose || log_level_parse(o->config.log_level, &level) < 0)
		return LOG_LEVEL_DEBUG;
	return level;
}

static int mount_process(const struct mount_options *options, int parent_fd)
{
	struct mount m = { .options = *options, .cache_fd = -1, .mounted_fd = -1 };
	struct error err = { 0 };
	int status = PROGRAM_FAILED;

	sem_init(&m.task_done, 0, 0);
	log_init("mount.cairn", log_level_of(options));
	if (bring_up(&m, &err) < 0) {
		if (parent_fd < 0)
			fprintf(stderr, "mount.cairn: %s\n", err.text);
		tell_parent(parent_fd, err.text);
	} else {
		log_info("mounted '%s' on '%s'", options->source, options->mountpoint);
		tell_parent(parent_fd, "mounted");
		status = serve(&m);
	}
	take_down(&m);
	return status;
}

static int mount_in_background(const struct mount_options *o)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		fprintf(stderr, "mount.cairn: cannot go to the background: %s\n", strerror(errno));
		return PROGRAM_SYSTEM;
	}
	if (pid > 0) {
		close(fds[1]);
		return wait_for_child(fds[0]);
	}
	close(fds[0]);
	setsid();
	if (chdir("/") != 0)
		log_warn("cannot change to '/': %s", strerror(errno));
	detach_stdio(o);
	return mount_process(o, fds[1]);
}

int program_run(int argc, char **argv)
{
	struct mount_options o;
	struct error err = { 0 };

	if (mount_options_parse(argc, argv, &o, &err) < 0) {
		fprintf(stderr, "mount.cairn: %s\n", err.text);
		/* no such directory, as mount(8) */
		return err.code == -E_NOENT ? PROGRAM_FAILED : PROGRAM_USAGE;
	}
	if (o.is_help) {
		mount_options_help();
		return PROGRAM_DONE;
	}
	if (o.is_version)
		puts("mount.cairn " CAIRN_VERSION);
	if (o.is_fake || o.is_version)
		return PROGRAM_DONE;
	if (o.is_remount)
		return remount(&o) == 0 ? PROGRAM_DONE : PROGRAM_FAILED;
	return o.is_foreground ? mount_process(&o, -1) : mount_in_background(&o);
}
