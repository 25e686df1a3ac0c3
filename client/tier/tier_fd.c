/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors of sealed files for the kernel's passthrough.
 *
 * The kernel may open a backing file again with flags of a caller. So the descriptor comes through
 * a read-only clone of the folder's mount, which is attached nowhere and shows in no mount table:
 * whoever tries to write meets EROFS, and no mistake of ours can change sealed content.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>


#include "client/tier/tier_internal.h"

/* The read-only clone of the folder, made when it is first wanted; or a negated code. */
static int tree_of(struct place *p)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	int fd;

	if (p->tree_fd >= 0)
		return p->tree_fd;
	if (p->dir_fd < 0 || p->has_no_tree)
		return -E_OPNOTSUPP;
	fd = (int)syscall(SYS_open_tree, p->dir_fd, "",
			  AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd >= 0 &&
	    syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0) {
		close(fd);
		fd = -1;
	}
	/* An old kernel, or no CAP_SYS_ADMIN: it stays so. */
	p->has_no_tree = fd < 0;
	p->tree_fd = fd;
	return fd < 0 ? -E_OPNOTSUPP : fd;
}

/* A descriptor, or -1 with errno. While it is renamed it has the one name or the other. */
static int sealed_open(const struct tier_file *f, int folder, int flags)
{
	char path[TIER_PATH_BYTES];
	int fd;

	tier_file_sealed_path(&f->name_root, path);
	fd = openat(folder, path, flags);
	if (fd < 0 && errno == ENOENT && f->is_renaming) {
		tier_file_sealed_path(&f->renamed_root, path);
		fd = openat(folder, path, flags);
	}
	return fd;
}

int tier_open_fd(struct tier_file *f, int *out)
{
	struct stat st;
	int tree, fd;

	if (f->state != TIER_SEALED || f->is_doubted)
		return -E_STALE;
	tree = tree_of(f->place);
	if (tree < 0)
		return tree;
	fd = sealed_open(f, tree, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		int rc = error_from_errno(errno);

		if (rc == -E_NOENT || rc == -E_IO)
			tier_doubt(f, error_text(rc));
		return rc;
	}
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != f->bytes) {
		close(fd);
		tier_doubt(f, "it has another length");
		return -E_CORRUPT;
	}
	*out = fd;
	return 0;
}

int tier_detach_fd(struct tier_file *f, int *out)
{
	int fd = -1, rc = -E_OPNOTSUPP;

	if (f->state != TIER_SEALED)
		return -E_STALE;
	if (f->place->dir_fd >= 0) {
		fd = sealed_open(f, f->place->dir_fd, O_RDWR | O_CLOEXEC);
		rc = fd < 0 ? error_from_errno(errno) : 0;
	}
	f->is_detached = true;
	tier_file_gone(f, false);
	if (rc == 0)
		*out = fd;
	return rc;
}
