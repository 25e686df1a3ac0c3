/* SPDX-License-Identifier: Apache-2.0 */
/* What the system says of a thread that asks us. */
#ifndef CAIRN_CLIENT_FUSE_TASK_H
#define CAIRN_CLIENT_FUSE_TASK_H

#include "client/core/client.h"

/* PF_EXITING and PF_KTHREAD of the kernel's <linux/sched.h>, in the flags of proc(5) */
#define TASK_EXITING 0x4u
#define TASK_KERNEL  0x200000u

/* 0 also of a thread that cannot be seen from here. */
unsigned task_flags(int tid);
/* Is it in fcntl(2) with this command? False also where that cannot be seen. */
bool task_is_in_fcntl(int tid, int command);

/*
 * What its pending signals do once it is back from the system. CAUGHT also of a thread that cannot
 * be seen from here.
 */
enum cl_signal task_signal(int tid);

/* CAP_SYS_ADMIN, and not only in a user namespace of its own; false of one that cannot be seen. */
bool task_is_admin(int tid);
/* Is this one of its supplementary groups? */
bool task_is_in_group(int tid, unsigned gid);

#endif
