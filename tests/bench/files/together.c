/* SPDX-License-Identifier: Apache-2.0 */
/* Several processes that begin at once. */
#include "tests/bench/files/files.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each child says `ready` when it is prepared, and begins when the other end of `start` closes. */
struct gate {
	int ready[2], start[2];
};

static void be_child(const struct together *t, unsigned index, const struct gate *g)
{
	char byte = 0;

	close(g->start[1]);
	if (t->prepare)
		t->prepare(t->arg, index);
	if (write(g->ready[1], &byte, 1) != 1)
		_exit(1);
	close(g->ready[1]);
	if (read(g->start[0], &byte, 1) != 0)
		_exit(1);
	t->run(t->arg, index);
	_exit(0);
}

void files_together(const struct together *t)
{
	struct gate g;
	int status, failed = 0;
	char byte;

	if (pipe(g.ready) != 0 || pipe(g.start) != 0)
		files_die("make a pipe for", "processes");
	for (unsigned i = 0; i < t->count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			files_die("start", "a process");
		if (pid == 0)
			be_child(t, i, &g);
	}
	close(g.ready[1]);
	for (unsigned i = 0; i < t->count; i++)
		if (read(g.ready[0], &byte, 1) != 1)
			exit(1);	/* it has said why */
	files_begin();
	close(g.start[1]);
	while (wait(&status) > 0)
		failed |= status;
	if (failed)
		exit(1);
	close(g.ready[0]);
	close(g.start[0]);
}
