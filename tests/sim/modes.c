/* SPDX-License-Identifier: Apache-2.0 */
/* Modes of files; see modes.h. */
#include "tests/sim/modes.h"

#include <string.h>

static struct mode_of_file *file_of(struct modes *m, inode_no ino)
{
	return &m->files[ino % MODES_FILES];
}

void modes_set_begin(struct modes *m, inode_no ino)
{
	struct mode_of_file *f = file_of(m, ino);

	if (f->ino != ino)
		*f = (struct mode_of_file){ .ino = ino };
	f->changed = ++m->moment;
	f->is_known = false;
	f->is_shared = f->under_way > 0;
	f->under_way++;
}

void modes_set_end(struct modes *m, inode_no ino, mode_t mode, int rc)
{
	struct mode_of_file *f = file_of(m, ino);

	if (f->ino != ino || f->under_way == 0)
		return;		/* its place was taken */
	f->changed = ++m->moment;
	f->under_way--;
	if (rc < 0)
		f->is_doubtful = true;		/* it may still happen */
	f->is_known = f->under_way == 0 && !f->is_shared && !f->is_doubtful;
	f->mode = mode;
}

bool modes_allow(const struct modes *m, uint64_t begun, inode_no ino, mode_t seen)
{
	const struct mode_of_file *f = &m->files[ino % MODES_FILES];

	if (f->ino != ino || !f->is_known || f->changed > begun)
		return true;
	return f->mode == (seen & 07777);
}

void modes_forget(struct modes *m)
{
	m->moment++;
	for (uint32_t i = 0; i < MODES_FILES; i++) {
		m->files[i].is_known = false;
		if (m->files[i].under_way)
			m->files[i].is_doubtful = true;
	}
}
