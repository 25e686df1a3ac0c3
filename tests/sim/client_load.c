/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scripts. Each step submits one operation and names the function that goes on when it is done.
 */
#include "tests/sim/client_load.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/core/file.h"

#define READ_BYTES (44000u * ORACLE_CELLS_MAX)
#define INTERRUPT_NS (20 * SIM_MS)	/* a user waits so long at least */

enum script {
	SCRIPT_MAKE,
	SCRIPT_MKDIR,
	SCRIPT_UNLINK,
	SCRIPT_RMDIR,
	SCRIPT_RENAME,
	SCRIPT_LINK,
	SCRIPT_LOOKUP,
	SCRIPT_LIST,
	SCRIPT_CREATE,
	SCRIPT_WRITE,
	SCRIPT_APPEND,
	SCRIPT_TRUNCATE,
	SCRIPT_READ,
	SCRIPT_SIZE,
	SCRIPT_SYNC,
	SCRIPT_UNNAMED,
	SCRIPT_WHITEOUT,
};

static const struct {
	enum script script;
	uint32_t weight;
} scripts[] = {
	{SCRIPT_MAKE, 4},    {SCRIPT_MKDIR, 3},	 {SCRIPT_UNLINK, 7},  {SCRIPT_RMDIR, 3},
	{SCRIPT_RENAME, 8},  {SCRIPT_LINK, 3},	 {SCRIPT_LOOKUP, 10}, {SCRIPT_LIST, 5},
	{SCRIPT_CREATE, 12}, {SCRIPT_WRITE, 16}, {SCRIPT_APPEND, 8},  {SCRIPT_TRUNCATE, 4},
	{SCRIPT_READ, 20},   {SCRIPT_SIZE, 6},	 {SCRIPT_SYNC, 1},    {SCRIPT_UNNAMED, 3},
	{SCRIPT_WHITEOUT, 2},
};

static uint64_t below(const struct load_lane *lane, uint64_t bound)
{
	return sim_world_below(lane->load->oracle->world, bound);
}

/* --- operations ------------------------------------------------------------------------------- */

static void op_done(struct cl_op *op)
{
	struct load_lane *lane = op->user;

	if (lane->load->is_gone)
		return;
	ASSERT(lane->is_busy);
	lane->is_busy = false;
	lane->call.rc = op->rc;
	lane->after(lane);
}

static void submit(struct load_lane *lane, enum cl_op_kind kind,
		   void (*after)(struct load_lane *lane))
{
	lane->op.kind = kind;
	lane->op.done = op_done;
	lane->op.user = lane;
	lane->after = after;
	lane->is_busy = true;
	lane->busy_ns = sim_world_now_ns(lane->load->oracle->world);
	lane->begun = lane->load->oracle->modes.moment;
	client_submit(lane->load->client->client, &lane->op);
}

static void op_clear(struct load_lane *lane)
{
	memset(&lane->op, 0, sizeof(lane->op));
}

static void call_begin(struct load_lane *lane, enum oracle_kind kind)
{
	lane->call.kind = kind;
	oracle_begin(lane->load->oracle, &lane->call);
}

/*
 * Who lost a lock with his session neither reads nor writes until he has closed the file. What was
 * interrupted may have happened or not, as when its client dies.
 */
static void call_end(struct load_lane *lane)
{
	if (lane->call.rc == -E_INTR ||
	    (lane->call.rc == -E_IO && lane->handle && lane->handle->is_lock_lost))
		oracle_abandon(lane->load->oracle, &lane->call);
	else
		oracle_end(lane->load->oracle, &lane->call);
}

static inode_no directory_of(const struct load_lane *lane, uint32_t slot)
{
	return lane->load->directories[slot / ORACLE_NAMES];
}

static const char *name_of(char out[4], uint32_t slot)
{
	(void)snprintf(out, 4, "n%u", slot % ORACLE_NAMES);
	return out;
}

static void at_slot(struct load_lane *lane)
{
	op_clear(lane);
	lane->op.parent = directory_of(lane, lane->call.slot);
	lane->op.name = name_of(lane->name, lane->call.slot);
}

/* --- the end of a script ---------------------------------------------------------------------- */

static void script_ended(struct load_lane *lane)
{
	lane->after = NULL;
	lane->node = 0;
	lane->lookups = 0;
	lane->wait_ns = sim_world_now_ns(lane->load->oracle->world) + below(lane, 60) * SIM_MS;
}

static void script_end(struct load_lane *lane)
{
	if (lane->lookups == 0) {
		script_ended(lane);
		return;
	}
	op_clear(lane);
	lane->op.ino = lane->ino;
	lane->op.lookups = lane->lookups;
	submit(lane, CL_FORGET, script_ended);
}

/* Locks end with the handle; those of a process with a flush already, as the kernel has it. */
static void release(struct load_lane *lane)
{
	lane->is_locking = false;
	op_clear(lane);
	lane->op.handle = lane->handle;
	lane->handle = NULL;
	submit(lane, CL_RELEASE, script_end);
}

/* --- writing ---------------------------------------------------------------------------------- */

/* --- locking ---------------------------------------------------------------------------------- */

/* Of this lane, on this client: never two at once. */
static uint64_t lock_owner(const struct load_lane *lane)
{
	return 1 + (uint64_t)(lane - lane->load->lanes);
}

static void lock(struct load_lane *lane, enum range_mode mode, void (*after)(struct load_lane *))
{
	uint64_t first = below(lane, 3) == 0 ? below(lane, 8) : 0;

	op_clear(lane);
	lane->op.ino = lane->ino;
	lane->op.handle = lane->handle;
	lane->op.lock = (struct cl_lock){ .owner = lock_owner(lane), .mode = mode,
					  .is_flock = lane->is_flock, .end = RANGE_END,
					  .waits = below(lane, 4) > 0 };
	if (!lane->is_flock && first > 0) {
		lane->op.lock.start = first;
		lane->op.lock.end = first + below(lane, 8);
	}
	submit(lane, CL_SETLK, after);
}

static void work_begin(struct load_lane *lane);

/* Another one, of a part, or none any more; whatever came of the last. */
static void lock_done(struct load_lane *lane)
{
	if (lane->op.rc < 0 && below(lane, 2)) {
		release(lane);
	} else if (below(lane, 4) == 0) {
		lock(lane, (enum range_mode)below(lane, 3), lock_done);
	} else {
		work_begin(lane);
	}
}

static void lock_begin(struct load_lane *lane)
{
	lane->is_locking = true;
	lock(lane, lane->script == SCRIPT_READ ? RANGE_READ : RANGE_WRITE, lock_done);
}

static void flush_done(struct load_lane *lane)
{
	call_end(lane);
	if (lane->is_locking && below(lane, 2))
		lock(lane, RANGE_NONE, release);
	else
		release(lane);
}

static void flush(struct load_lane *lane)
{
	op_clear(lane);
	lane->op.handle = lane->handle;
	lane->op.ino = lane->ino;
	lane->op.lock.owner = lock_owner(lane);
	call_begin(lane, ORACLE_FLUSH);
	submit(lane, CL_FLUSH, flush_done);
}

static void fsync_done(struct load_lane *lane)
{
	call_end(lane);
	flush(lane);
}

static void write_next(struct load_lane *lane);

static void write_done(struct load_lane *lane)
{
	const uint32_t cell_bytes = lane->load->oracle->nodes[lane->node]->cell_bytes;

	/* A short write hides the error that ended it. */
	if (lane->call.rc == 0 && lane->op.out_len != cell_bytes)
		lane->call.rc = -E_IO;
	call_end(lane);
	lane->writes_left--;
	lane->after = write_next;
	if (below(lane, 3) == 0)
		lane->wait_ns =
			sim_world_now_ns(lane->load->oracle->world) + below(lane, 900) * SIM_MS;
	else
		write_next(lane);
}

/* --- attributes ------------------------------------------------------------------------------- */

static void mode_check(struct load_lane *lane, const struct stat *st)
{
	struct oracle *o = lane->load->oracle;

	if (!modes_allow(&o->modes, lane->begun, st->st_ino, st->st_mode))
		oracle_fail(o, "client%u sees mode %o of inode %llu, another was set before",
			    lane->load->client->index + 1, (unsigned)st->st_mode & 07777,
			    (unsigned long long)st->st_ino);
}

static void mode_set_done(struct load_lane *lane)
{
	modes_set_end(&lane->load->oracle->modes, lane->ino, lane->op.mode, lane->op.rc);
	write_next(lane);
}

/* Of a file that is being written: it may travel with the content, or not. */
static void set_attributes(struct load_lane *lane)
{
	op_clear(lane);
	lane->op.ino = lane->ino;
	lane->op.handle = below(lane, 2) ? lane->handle : NULL;
	if (below(lane, 3) == 0) {
		lane->op.set_mask = CL_SET_MTIME;
		lane->op.mtime_ns = (int64_t)below(lane, SIM_S);
		submit(lane, CL_SETATTR, write_next);
		return;
	}
	lane->op.set_mask = CL_SET_MODE;
	lane->op.mode = (mode_t)below(lane, 01000);
	modes_set_begin(&lane->load->oracle->modes, lane->ino);
	submit(lane, CL_SETATTR, mode_set_done);
}

static void write_next(struct load_lane *lane)
{
	struct oracle_node *node = lane->load->oracle->nodes[lane->node];

	if (below(lane, 6) == 0) {
		set_attributes(lane);
		return;
	}
	/* Between two writes its leases are others than at the open. */
	if (below(lane, 5) == 0) {
		lane->is_locking = true;
		lock(lane, (enum range_mode)below(lane, 3), write_next);
		return;
	}
	op_clear(lane);
	lane->op.handle = lane->handle;
	if (lane->writes_left == 0) {
		if (below(lane, 3) > 0) {
			flush(lane);
			return;
		}
		call_begin(lane, ORACLE_FSYNC);
		submit(lane, CL_FSYNC, fsync_done);
		return;
	}
	lane->call.cell = (uint32_t)below(lane, ORACLE_CELLS);
	call_begin(lane, lane->script == SCRIPT_APPEND ? ORACLE_APPEND : ORACLE_WRITE);
	oracle_content_fill(lane->bytes, node->cell_bytes, lane->call.tag);
	lane->op.bytes = lane->bytes;
	lane->op.bytes_len = node->cell_bytes;
	lane->op.offset = (uint64_t)lane->call.cell * node->cell_bytes;
	lane->op.flags = lane->script == SCRIPT_APPEND ? O_APPEND : 0;
	submit(lane, CL_WRITE, write_done);
}

static void write_begin(struct load_lane *lane)
{
	lane->writes_left = 1 + (uint32_t)below(lane, lane->script == SCRIPT_APPEND ? 2 : 4);
	write_next(lane);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void read_done(struct load_lane *lane)
{
	struct oracle *o = lane->load->oracle;

	lane->len = 0;
	for (uint32_t i = 0; lane->call.rc == 0 && i < lane->op.iov_count; i++) {
		memcpy(lane->bytes + lane->len, lane->op.iov[i].iov_base, lane->op.iov[i].iov_len);
		lane->len += lane->op.iov[i].iov_len;
	}
	if (lane->call.rc == 0)
		oracle_content_decode(o, lane->node, lane->bytes, lane->len, lane->call.values);
	call_end(lane);
	release(lane);
}

static void read_begin(struct load_lane *lane)
{
	op_clear(lane);
	lane->op.handle = lane->handle;
	lane->op.length = READ_BYTES;
	call_begin(lane, ORACLE_READ);
	submit(lane, CL_READ, read_done);
}

static void size_done(struct load_lane *lane)
{
	uint32_t cell_bytes = lane->load->oracle->nodes[lane->node]->cell_bytes;
	uint64_t size = (uint64_t)lane->op.attr.st.st_size;

	if (lane->call.rc == 0)
		mode_check(lane, &lane->op.attr.st);
	if (lane->call.rc == 0 && size % cell_bytes != 0 &&
	    !lane->load->oracle->nodes[lane->node]->content.is_blurred)
		oracle_fail(lane->load->oracle, "node %u has a size of %llu, in cells of %u",
			    lane->node, (unsigned long long)size, cell_bytes);
	lane->call.values[0] = (uint16_t)(size / cell_bytes);
	call_end(lane);
	script_end(lane);
}

/* --- with a file ------------------------------------------------------------------------------ */

static void work_begin(struct load_lane *lane)
{
	if (lane->script == SCRIPT_READ)
		read_begin(lane);
	else
		write_begin(lane);
}

static void open_done(struct load_lane *lane)
{
	call_end(lane);
	if (lane->call.rc < 0) {
		script_end(lane);
		return;
	}
	lane->handle = lane->op.opened;
	lane->is_flock = below(lane, 2);
	if (below(lane, 3) == 0)
		lock_begin(lane);
	else
		work_begin(lane);
}

static void content_done(struct load_lane *lane)
{
	call_end(lane);
	script_end(lane);
}

/* The script's file is known: lane->ino, lane->node. */
static void with_file(struct load_lane *lane)
{
	op_clear(lane);
	lane->op.ino = lane->ino;
	lane->call.node = lane->node;
	switch (lane->script) {
	case SCRIPT_SIZE:
		call_begin(lane, ORACLE_SIZE);
		submit(lane, CL_GETATTR, size_done);
		return;
	case SCRIPT_TRUNCATE:
		lane->call.cell = (uint32_t)below(lane, ORACLE_CELLS + 1);
		lane->op.set_mask = CL_SET_SIZE;
		lane->op.size = (uint64_t)lane->call.cell *
				lane->load->oracle->nodes[lane->node]->cell_bytes;
		call_begin(lane, ORACLE_TRUNCATE);
		submit(lane, CL_SETATTR, content_done);
		return;
	case SCRIPT_READ:
		lane->op.flags = O_RDONLY;
		break;
	case SCRIPT_APPEND:
		lane->op.flags = O_WRONLY | O_APPEND;
		break;
	default:
		lane->op.flags = O_RDWR;
		break;
	}
	call_begin(lane, ORACLE_OPEN);
	submit(lane, CL_OPEN, open_done);
}

static bool is_in_use(const struct client_load *l, uint16_t node)
{
	for (uint32_t i = 0; i < LOAD_LANES; i++) {
		if (l->lanes[i].node == node)
			return true;
	}
	return false;
}

static void link_done(struct load_lane *lane)
{
	if (lane->call.rc == 0)
		lane->lookups++;
	call_end(lane);
	script_end(lane);
}

static void lookup_done(struct load_lane *lane)
{
	lane->ino = lane->call.ino = lane->call.rc == 0 ? lane->op.attr.st.st_ino : 0;
	lane->call.is_directory = lane->call.rc == 0 && S_ISDIR(lane->op.attr.st.st_mode);
	lane->lookups = lane->call.rc == 0;
	if (lane->call.rc == 0)
		mode_check(lane, &lane->op.attr.st);
	call_end(lane);
	uint16_t node = lane->ino != 0 ? oracle_node_find(lane->load->oracle, lane->ino) : 0;
	if (lane->script == SCRIPT_LOOKUP || node == 0 || lane->call.is_directory ||
	    is_in_use(lane->load, node)) {
		script_end(lane);
		return;
	}
	lane->node = node;
	if (lane->script != SCRIPT_LINK) {
		with_file(lane);
		return;
	}
	lane->call.slot = (uint32_t)below(lane, ORACLE_SLOTS);
	lane->call.node = node;
	at_slot(lane);
	lane->op.ino = lane->ino;
	call_begin(lane, ORACLE_LINK);
	submit(lane, CL_LINK, link_done);
}

/* --- names ------------------------------------------------------------------------------------ */

static void make_done(struct load_lane *lane)
{
	lane->ino = lane->call.ino = lane->call.rc == 0 ? lane->op.attr.st.st_ino : 0;
	lane->handle = lane->call.rc == 0 ? lane->op.opened : NULL;
	lane->lookups = lane->call.rc == 0;
	call_end(lane);
	if (lane->handle == NULL) {
		script_end(lane);
		return;
	}
	lane->node = lane->call.node;
	write_begin(lane);
}

static void make(struct load_lane *lane, bool is_directory, bool want_open)
{
	at_slot(lane);
	lane->op.mode = is_directory ? S_IFDIR | 0755 : S_IFREG | 0644;
	lane->op.exclusive = !is_directory;
	lane->op.want_open = want_open;
	lane->op.flags = want_open ? O_RDWR | O_CREAT | O_EXCL : 0;
	call_begin(lane, is_directory ? ORACLE_MKDIR : ORACLE_MAKE);
	submit(lane, CL_MAKE, make_done);
}

static void name_done(struct load_lane *lane)
{
	call_end(lane);
	script_end(lane);
}

static void unlink_name(struct load_lane *lane, bool is_directory)
{
	at_slot(lane);
	lane->op.is_directory = is_directory;
	call_begin(lane, is_directory ? ORACLE_RMDIR : ORACLE_UNLINK);
	submit(lane, CL_UNLINK, name_done);
}

static void rename_name(struct load_lane *lane)
{
	static const uint32_t flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};

	at_slot(lane);
	lane->call.new_slot = (uint32_t)below(lane, ORACLE_SLOTS);
	lane->call.flags = flags[below(lane, ARRAY_COUNT(flags))];
	lane->op.new_parent = directory_of(lane, lane->call.new_slot);
	lane->op.new_name = name_of(lane->new_name, lane->call.new_slot);
	lane->op.flags = lane->call.flags;
	call_begin(lane, ORACLE_RENAME);
	submit(lane, CL_RENAME, name_done);
}

static void list_done(struct load_lane *lane)
{
	memset(lane->listed, 0, sizeof(lane->listed));
	for (uint32_t i = 0; lane->call.rc == 0 && i < lane->op.entry_count; i++) {
		const struct cl_entry *e = &lane->op.entries[i];
		if (e->name[0] == 'n' && e->name_len == 2)
			lane->listed[e->name[1] - '0'] = e->ino;
		if (e->has_attr)
			mode_check(lane, &e->attr.st);
	}
	if (lane->call.rc == 0 && !lane->op.end)
		oracle_fail(lane->load->oracle, "a listing of %u names has no end",
			    lane->op.entry_count);
	lane->call.listed = lane->listed;
	call_end(lane);
	op_clear(lane);
	lane->op.handle = lane->handle;
	lane->handle = NULL;
	submit(lane, CL_RELEASEDIR, script_end);
}

static void opendir_done(struct load_lane *lane)
{
	lane->handle = lane->op.opened;
	if (lane->op.rc < 0) {
		script_end(lane);
		return;
	}
	op_clear(lane);
	lane->op.ino = directory_of(lane, lane->call.slot);
	lane->op.handle = lane->handle;
	lane->op.length = KiB(8);
	lane->op.want_attr = true;
	call_begin(lane, ORACLE_LIST);
	submit(lane, CL_READDIR, list_done);
}

static void list(struct load_lane *lane)
{
	lane->call.slot -= lane->call.slot % ORACLE_NAMES;
	op_clear(lane);
	lane->op.ino = directory_of(lane, lane->call.slot);
	submit(lane, CL_OPENDIR, opendir_done);
}

/* --- a file without a name (O_TMPFILE)
 * -------------------------------------------------------------------------------------------------
 * No other client knows it: it holds an attribute and some bytes, and goes with its last close, or
 * with its client. What is left of any the reckoning finds. It may fail, but not lie.
 */

#define UNNAMED_BYTES 3000u

static void unnamed_read(struct load_lane *lane)
{
	if (lane->op.rc == 0 &&
	    (lane->op.out_len != sizeof(uint64_t) ||
	     memcmp(lane->bytes + sizeof(uint64_t), lane->bytes, sizeof(uint64_t)) != 0))
		oracle_fail(lane->load->oracle, "an attribute of inode %llu is not what was set",
			    (unsigned long long)lane->ino);
	release(lane);
}

static void unnamed_written(struct load_lane *lane)
{
	op_clear(lane);
	lane->op.ino = lane->ino;
	lane->op.name = "user.sim";
	lane->op.out = lane->bytes + sizeof(uint64_t);
	lane->op.out_capacity = sizeof(uint64_t);
	submit(lane, CL_GETXATTR, unnamed_read);
}

static void unnamed_set(struct load_lane *lane)
{
	if (lane->op.rc < 0) {
		release(lane);
		return;
	}
	op_clear(lane);
	lane->op.handle = lane->handle;
	lane->op.bytes = lane->bytes;
	lane->op.bytes_len = UNNAMED_BYTES;
	lane->op.offset = below(lane, 3) * READ_BYTES / 4;
	submit(lane, CL_WRITE, unnamed_written);
}

static void unnamed_made(struct load_lane *lane)
{
	uint64_t value = below(lane, UINT64_MAX);

	if (lane->op.rc < 0) {
		script_end(lane);
		return;
	}
	lane->ino = lane->op.attr.st.st_ino;
	lane->handle = lane->op.opened;
	lane->lookups = 1;
	memcpy(lane->bytes, &value, sizeof(value));
	op_clear(lane);
	lane->op.ino = lane->ino;
	lane->op.name = "user.sim";
	lane->op.bytes = lane->bytes;
	lane->op.bytes_len = sizeof(value);
	submit(lane, CL_SETXATTR, unnamed_set);
}

static void make_unnamed(struct load_lane *lane)
{
	op_clear(lane);
	lane->op.parent = directory_of(lane, lane->call.slot);
	lane->op.mode = S_IFREG | 0600;
	lane->op.unnamed = lane->op.want_open = true;
	lane->op.flags = O_RDWR;
	submit(lane, CL_MAKE, unnamed_made);
}

/* --- names that nobody else uses, left as whiteouts
 * -------------------------------------------------------------------------------------------------
 * A rename leaves a whiteout, then both go. Any step may fail, or find what a crash left.
 */

static void whiteout_unlink(struct load_lane *lane)
{
	at_slot(lane);
	lane->op.name = lane->new_name;
	submit(lane, CL_UNLINK, script_end);
}

static void whiteout_renamed(struct load_lane *lane)
{
	at_slot(lane);
	lane->op.name = lane->name;
	lane->name[0] = 'w';
	submit(lane, CL_UNLINK, whiteout_unlink);
}

static void whiteout_made(struct load_lane *lane)
{
	lane->ino = lane->op.rc == 0 ? lane->op.attr.st.st_ino : 0;
	lane->lookups = lane->op.rc == 0;
	at_slot(lane);
	lane->name[0] = 'w';
	lane->op.new_parent = lane->op.parent;
	lane->op.new_name = lane->new_name;
	lane->op.flags = RENAME_WHITEOUT;
	submit(lane, CL_RENAME, whiteout_renamed);
}

static void make_whiteout(struct load_lane *lane)
{
	at_slot(lane);
	lane->name[0] = 'w';
	(void)snprintf(lane->new_name, sizeof(lane->new_name), "v%u", lane->load->client->index);
	lane->op.mode = S_IFIFO | 0600;
	lane->op.exclusive = true;
	submit(lane, CL_MAKE, whiteout_made);
}

/* --- choosing --------------------------------------------------------------------------------- */

static enum script choose(const struct load_lane *lane)
{
	uint32_t sum = 0, i = 0;

	for (uint32_t k = 0; k < ARRAY_COUNT(scripts); k++)
		sum += scripts[k].weight;
	for (uint64_t at = below(lane, sum); at >= scripts[i].weight; i++)
		at -= scripts[i].weight;
	return scripts[i].script;
}

static void script_begin(struct load_lane *lane)
{
	memset(&lane->call, 0, sizeof(lane->call));
	lane->call.client = lane->load->client->index;
	lane->call.slot = (uint32_t)below(lane, ORACLE_SLOTS);
	lane->script = choose(lane);
	lane->ino = 0;
	switch ((enum script)lane->script) {
	case SCRIPT_MAKE:
	case SCRIPT_MKDIR:
	case SCRIPT_CREATE:
		make(lane, lane->script == SCRIPT_MKDIR, lane->script == SCRIPT_CREATE);
		return;
	case SCRIPT_UNLINK:
	case SCRIPT_RMDIR:
		unlink_name(lane, lane->script == SCRIPT_RMDIR);
		return;
	case SCRIPT_RENAME:
		rename_name(lane);
		return;
	case SCRIPT_LIST:
		list(lane);
		return;
	case SCRIPT_UNNAMED:
		make_unnamed(lane);
		return;
	case SCRIPT_WHITEOUT:
		make_whiteout(lane);
		return;
	case SCRIPT_SYNC:
		op_clear(lane);
		call_begin(lane, ORACLE_SYNC);
		submit(lane, CL_SYNCFS, name_done);
		return;
	default:
		at_slot(lane);
		call_begin(lane, ORACLE_LOOKUP);
		submit(lane, CL_LOOKUP, lookup_done);
		return;
	}
}

/* --- life ------------------------------------------------------------------------------------- */

void client_load_init(struct client_load *l, struct cluster_node *client, struct oracle *oracle,
		      const inode_no directories[ORACLE_DIRECTORIES])
{
	memset(l, 0, sizeof(*l));
	l->client = client;
	l->oracle = oracle;
	l->directories = directories;
	for (uint32_t i = 0; i < LOAD_LANES; i++) {
		l->lanes[i].load = l;
		l->lanes[i].bytes = malloc(READ_BYTES);
		ASSERT(l->lanes[i].bytes != NULL);
	}
}

void client_load_finish(struct client_load *l)
{
	for (uint32_t i = 0; i < LOAD_LANES; i++)
		free(l->lanes[i].bytes);
}

/* As by Ctrl-C: of a lock now and then, of what concerns names when it does not come to an end. */
static bool is_interrupted(struct load_lane *lane, uint64_t now_ns)
{
	if (!lane->is_busy)
		return false;
	switch (lane->op.kind) {
	case CL_SETLK:
		return below(lane, 100) == 0;
	case CL_LOOKUP:
	case CL_MAKE:
	case CL_LINK:
	case CL_UNLINK:
	case CL_RENAME:
	case CL_OPEN:
		return lane->call.is_begun && now_ns - lane->busy_ns >= INTERRUPT_NS &&
		       below(lane, 50) == 0;
	default:
		return false;
	}
}

void client_load_tick(struct client_load *l)
{
	uint64_t now_ns = sim_world_now_ns(l->oracle->world);

	if (!l->client->is_up || l->client->client_rc != 0)
		return;
	for (uint32_t i = 0; i < LOAD_LANES; i++) {
		struct load_lane *lane = &l->lanes[i];
		if (is_interrupted(lane, now_ns))
			client_interrupt(l->client->client, &lane->op);
		if (lane->is_busy || now_ns < lane->wait_ns)
			continue;
		if (lane->after != NULL)
			lane->after(lane);
		else if (!l->is_paused && !oracle_is_full(l->oracle))
			script_begin(lane);
	}
}

bool client_load_is_idle(const struct client_load *l)
{
	for (uint32_t i = 0; i < LOAD_LANES; i++) {
		if (l->lanes[i].is_busy || l->lanes[i].after != NULL)
			return false;
	}
	return true;
}

const struct load_lane *client_load_oldest(const struct client_load *l)
{
	const struct load_lane *oldest = NULL;

	for (uint32_t i = 0; i < LOAD_LANES; i++) {
		if (l->lanes[i].is_busy &&
		    (oldest == NULL || l->lanes[i].busy_ns < oldest->busy_ns))
			oldest = &l->lanes[i];
	}
	return oldest;
}

void client_load_dies(struct client_load *l)
{
	l->is_gone = true;
}

void client_load_died(struct client_load *l)
{
	for (uint32_t i = 0; i < LOAD_LANES; i++) {
		struct load_lane *lane = &l->lanes[i];
		oracle_abandon(l->oracle, &lane->call);
		lane->is_busy = false;
		lane->after = NULL;
		lane->handle = NULL;
		lane->node = 0;
		lane->lookups = 0;
		lane->is_locking = false;
	}
	oracle_crashed(l->oracle, l->client->index);
	l->is_gone = false;
}
