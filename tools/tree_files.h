/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every regular file below a directory of a running cluster, or the one that is asked for. Names
 * may come and go meanwhile: what is gone when we ask is passed over. Attributes come with the list
 * of names. Memory: the names of the directories on the way down. Threads: one.
 */
#ifndef CAIRN_TOOLS_TREE_FILES_H
#define CAIRN_TOOLS_TREE_FILES_H

#include "tools/tree_reader.h"

struct tree_file {
	const char *path; /* from where the walk began, "a/b"; "" if it began at the file */
	const struct tree_attr *attr;
};
/* A negative answer ends the walk with that code; the error is the caller's to set. */
typedef int (*tree_file_fn)(void *arg, const struct tree_file *file);

struct tree_files {
	struct tree_reader *reader;
	tree_file_fn fn;
	void *arg;
	bool is_flat;		 /* what lies in the directory, and not below */
	uint64_t directories;	 /* that were listed */
	uint64_t gone, too_long; /* names that were passed over */
};
must_check int tree_files_walk(struct tree_files *w, inode_no from, struct error *err);

/* Did the cluster say so because it was removed or replaced since? */
bool tree_files_is_gone(int rc);

#endif
